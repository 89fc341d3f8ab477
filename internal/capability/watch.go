package capability

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a folder must be quiet before it is read again; settleMost is
	// how long it may go on changing until it is read all the same.
	settle, settleMost = 100 * time.Millisecond, time.Second
	// readAgain bounds the readings in a row of a folder in which new ones to watch
	// appear.
	readAgain = 5
)

// watch hears of changes and has folders read again.
type watch struct {
	catalogue *Catalogue
	notify    *fsnotify.Watcher // nil where the system gives none
	reading   sync.Mutex        // one reading at a time sets what is watched
	places    map[string]int    // by how many folders each is watched
	done      chan struct{}
	ended     chan struct{}
	once      sync.Once
	heard     func()
}

func newWatch(c *Catalogue, open func() (*fsnotify.Watcher, error), heard func()) *watch {
	if heard == nil {
		heard = func() {}
	}
	w := &watch{catalogue: c, places: map[string]int{}, done: make(chan struct{}), ended: make(chan struct{}), heard: heard}
	notify, err := open()
	if err != nil {
		c.log.Warn("agents and skills can't be watched; they are read again at intervals", slog.Duration("every", c.rescan), slog.Any("error", err))
		return w
	}
	w.notify = notify
	return w
}

func (w *watch) close() {
	w.once.Do(func() {
		close(w.done)
		<-w.ended
		if w.notify != nil {
			_ = w.notify.Close() // nobody listens any more
		}
	})
	<-w.ended
}

// run reads again what has changed, until close.
func (w *watch) run() {
	defer close(w.ended)
	var events chan fsnotify.Event
	var failures chan error
	if w.notify != nil {
		events, failures = w.notify.Events, w.notify.Errors
	}
	every := time.NewTicker(w.catalogue.rescan)
	defer every.Stop()
	changed := map[*folder]bool{}
	quiet := time.NewTimer(0)
	quiet.Stop()
	var first time.Time
	for {
		select {
		case <-w.done:
			return
		case event := <-events:
			for _, f := range w.catalogue.folders() {
				if f.concerned(event) {
					if len(changed) == 0 {
						first = time.Now()
					}
					changed[f] = true
					quiet.Reset(max(0, min(settle, settleMost-time.Since(first))))
				}
			}
		case <-quiet.C:
			for f := range changed {
				w.catalogue.read(f)
			}
			clear(changed)
			w.heard()
		case err := <-failures:
			// Events were lost: everything may have changed.
			w.catalogue.log.Warn("changes of agents or skills were missed; they are read again", slog.Any("error", err))
			w.all()
		case <-every.C:
			w.all()
		}
	}
}

func (w *watch) all() {
	for _, f := range w.catalogue.folders() {
		w.catalogue.read(f)
	}
	w.heard()
}

// concerned says that an event may change what a folder's reading finds. .claude
// changes all the time: the CLI keeps its sessions in it.
func (f *folder) concerned(event fsnotify.Event) bool {
	if event.Op == fsnotify.Chmod {
		return false
	}
	below := func(name string) bool {
		name = filepath.Join(f.path, name)
		return event.Name == name || strings.HasPrefix(event.Name, name+string(filepath.Separator))
	}
	return event.Name == filepath.Join(f.path, claudeDir) || below(agentsDir) || below(skillsDir)
}

// read reads a folder and watches what of it may change.
func (c *Catalogue) read(f *folder) {
	c.watch.reading.Lock()
	defer c.watch.reading.Unlock()
	for range readAgain {
		if f.left {
			return
		}
		found, warnings := readFolder(f.path, f.origin)
		c.mu.Lock()
		for _, warning := range warnings {
			if !slices.Contains(f.warned, warning) {
				c.log.Warn("an agent or a skill is left out", slog.String("why", warning))
			}
		}
		f.warned = warnings
		f.findings = found
		c.mu.Unlock()
		// What appeared between reading and watching has told nobody.
		if !c.watch.set(f, found.places) {
			return
		}
	}
}

// set watches these places of a folder, and no others. It says whether one is new.
func (w *watch) set(f *folder, places []string) (added bool) {
	if w.notify == nil {
		return false
	}
	former := f.watching
	f.watching = nil
	known := w.notify.WatchList() // what was removed from the disk isn't in it any more
	for _, place := range places {
		if err := w.notify.Add(place); err != nil {
			w.catalogue.log.Debug("a folder can't be watched; it is read again at intervals", slog.String("folder", place), slog.Any("error", err))
			continue
		}
		added = added || !slices.Contains(known, place)
		f.watching = append(f.watching, place)
		w.places[place]++
	}
	w.remove(former)
	return added
}

func (w *watch) remove(places []string) {
	for _, place := range places {
		if w.places[place]--; w.places[place] <= 0 {
			delete(w.places, place)
			_ = w.notify.Remove(place) // the place may be gone, and its watch with it
		}
	}
}

// forget watches a folder no more.
func (w *watch) forget(f *folder) {
	w.reading.Lock()
	defer w.reading.Unlock()
	f.left = true
	w.remove(f.watching)
	f.watching = nil
}

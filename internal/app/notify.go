package app

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// reporter tells whoever started the process what the service is doing, in the
// protocol of systemd's sd_notify; claude-api service start listens too. Without
// NOTIFY_SOCKET it tells nobody.
type reporter struct {
	send func(state string)
	// alive says whether the service still answers. It may not return at all.
	alive func() bool
	// text is what the service does, in one line.
	text     func() string
	watchdog time.Duration // how soon the next sign of life is asked for; 0: none is
	leaving  atomic.Bool
}

// statusEvery is how often a changed status is told.
const statusEvery = time.Second

// newReporter makes the reporter of a service that has been started; nil where nobody
// listens.
func newReporter(a *App) *reporter {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	// WATCHDOG_PID tells whether it is this process that is watched.
	watchdog, err := daemon.SdWatchdogEnabled(true)
	if err != nil {
		a.log.Error("the service manager's watchdog isn't told anything", "error", err)
	}
	return &reporter{send: sender(a.log), alive: a.alive, text: a.statusText, watchdog: watchdog}
}

// sender gives what sends to NOTIFY_SOCKET. That nobody hears is logged once: the
// service goes on.
func sender(log *slog.Logger) func(state string) {
	var once sync.Once
	return func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			once.Do(func() { log.Debug("nobody listens at NOTIFY_SOCKET any more", "error", err) })
		}
	}
}

// ready says that the service serves. That is as soon as it listens: /ready may still
// wait for the CLI, which is tried for as long as it takes, and no reason to start the
// service again.
func (r *reporter) ready() {
	if r != nil {
		r.send(daemon.SdNotifyReady + "\nSTATUS=" + r.text())
	}
}

func (r *reporter) reloading() {
	if r != nil {
		r.send(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec() + "STATUS=reads the configuration again")
	}
}

// stopping says that the service ends. Its state is no news from then on.
func (r *reporter) stopping() {
	if r != nil {
		r.leaving.Store(true)
		r.send(daemon.SdNotifyStopping + "\nSTATUS=stopping: what runs is finished")
	}
}

// begin has watch run until it is told to end. It may be waiting for a service that
// doesn't answer: nobody waits for it in turn.
func (r *reporter) begin() (end func()) {
	if r == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	go r.watch(ctx)
	return cancel
}

// watch tells each change of the status, and gives signs of life twice as often as
// they are asked for, until ctx ends: a stop may take its time. A sign is given only
// where the service answers.
func (r *reporter) watch(ctx context.Context) {
	var signs <-chan time.Time
	if r.watchdog > 0 {
		ticker := time.NewTicker(r.watchdog / 2)
		defer ticker.Stop()
		signs = ticker.C
	}
	changes := time.NewTicker(statusEvery)
	defer changes.Stop()
	told := r.text()
	for {
		select {
		case <-signs:
			if r.alive() {
				r.send(daemon.SdNotifyWatchdog)
			}
		case <-changes.C:
			if text := r.text(); text != told && !r.leaving.Load() {
				told = text
				r.send("STATUS=" + text)
			}
		case <-ctx.Done():
			return
		}
	}
}

// statusText is the service's state for whoever looks at the service manager.
func (a *App) statusText() string {
	text := "serving at " + a.urls()
	if ready, reason := a.ready(); !ready {
		return text + "; not ready: " + reason
	}
	return text + "; ready"
}

// alive asks the service for /health, past the network. It answers from memory; that
// a part is degraded is no reason to start anew.
func (a *App) alive() bool {
	r, err := http.NewRequestWithContext(a.life, http.MethodGet, "/health", http.NoBody)
	if err != nil {
		return false
	}
	w := &discarded{header: http.Header{}}
	a.server.ServeHTTP(w, r)
	return w.status == http.StatusOK
}

// discarded is an answer of which only the status is kept.
type discarded struct {
	header http.Header
	status int
}

func (w *discarded) Header() http.Header { return w.header }

func (w *discarded) WriteHeader(status int) { w.status = status }

func (w *discarded) Write(p []byte) (int, error) { return len(p), nil }

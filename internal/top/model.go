package top

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"claude-code-api-service/client"
)

// tab is what the lower part shows.
type tab int

const (
	tabRequests tab = iota
	tabWorkers
	tabLatency
	tabTasks
	tabs // how many there are
)

func (t tab) String() string {
	return [tabs]string{"Requests", "Workers", "Latency", "Tasks"}[t]
}

// How much is asked for.
const (
	recentRequests = 100
	listedTasks    = 100
)

// snapshot is what the service has answered; nil where it wasn't asked, or failed.
type snapshot struct {
	overview *client.Overview
	requests *client.Requests
	workers  *client.Workers
	latency  *client.Latency
	tasks    *client.TaskPage
	at       time.Time
	err      error
	// of is the tab that it was asked for, window the one of its percentiles.
	of     tab
	window time.Duration
}

// ended is what became of a wish to end a worker.
type ended struct {
	id  string
	err error
}

// tick says that it is time to ask again; generation is that of the model when it was set,
// so that each model has one clock.
type tick struct{ generation int }

// model is the view's state. It is changed by Update alone.
type model struct {
	ctx     context.Context
	options Options
	style   styles

	width, height int // 0: not known yet
	tab           tab
	data          snapshot
	err           error // of the last answer
	asking        bool
	paused        bool
	generation    int

	sorted    [tabs]int  // which column; -1: as they come
	reversed  [tabs]bool // the other way round
	cursor    int        // the chosen line
	offset    int        // the first line that is seen
	filter    string
	filtering bool // the filter is being written
	window    time.Duration
	confirm   *client.Worker // whose end is asked for
	note      string         // what became of the last wish
	help      bool
}

func newModel(ctx context.Context, options Options) *model {
	m := &model{ctx: ctx, options: options, style: newStyles(options.Plain), window: windows[0]}
	for i := range m.sorted {
		m.sorted[i] = -1
	}
	return m
}

// windows are those of the percentiles.
var windows = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd {
	m.asking = true
	return m.fetch()
}

// fetch asks the service for what is seen.
func (m *model) fetch() tea.Cmd {
	ctx, service, of, window := m.ctx, m.options.Service, m.tab, m.window
	return func() tea.Msg {
		s := snapshot{of: of, window: window}
		if s.overview, s.err = ask(ctx, service.Overview); s.err != nil {
			return s
		}
		switch of {
		case tabRequests:
			s.requests, s.err = ask(ctx, func(ctx context.Context) (*client.Requests, error) { return service.Requests(ctx, recentRequests) })
		case tabWorkers:
			s.workers, s.err = ask(ctx, service.Workers)
		case tabLatency:
			s.latency, s.err = ask(ctx, func(ctx context.Context) (*client.Latency, error) { return service.Latency(ctx, window) })
		case tabTasks:
			s.tasks, s.err = ask(ctx, func(ctx context.Context) (*client.TaskPage, error) {
				return service.Tasks(ctx, client.TaskFilter{Limit: listedTasks})
			})
		}
		s.at = time.Now()
		return s
	}
}

// wait asks again after a while.
func (m *model) wait() tea.Cmd {
	m.generation++
	generation := m.generation
	return tea.Tick(m.options.Every, func(time.Time) tea.Msg { return tick{generation} })
}

// again asks at once, unless an answer is on its way.
func (m *model) again() tea.Cmd {
	if m.asking {
		return nil
	}
	m.asking = true
	return m.fetch()
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	command := m.update(msg)
	m.keep()
	return m, command
}

func (m *model) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case snapshot:
		return m.take(msg)
	case tick:
		if msg.generation == m.generation && !m.paused {
			return m.again()
		}
	case ended:
		m.note = "worker " + safe(msg.id) + " is ended"
		if msg.err != nil {
			m.note = "worker " + safe(msg.id) + " isn't ended: " + safe(message(msg.err))
		}
		return m.again()
	case tea.KeyPressMsg:
		return m.press(msg)
	}
	return nil
}

// take takes an answer.
func (m *model) take(s snapshot) tea.Cmd {
	m.asking = false
	if s.of != m.tab || s.window != m.window {
		return m.again() // something else is looked at by now
	}
	m.err = s.err
	if s.overview != nil {
		m.data.overview = s.overview
	}
	if s.err == nil {
		m.data = s
	}
	if m.paused {
		return nil
	}
	return m.wait()
}

// press does what a key stands for.
func (m *model) press(key tea.KeyPressMsg) tea.Cmd {
	name := key.String()
	if name == "ctrl+c" {
		return tea.Quit
	}
	switch {
	case m.confirm != nil:
		return m.decide(name)
	case m.filtering:
		m.write(key)
		return nil
	}
	m.note = ""
	switch name {
	case "q":
		return tea.Quit
	case "esc":
		m.filter, m.help, m.cursor = "", false, 0
	case "?", "h":
		m.help = !m.help
	case "tab", "right", "l":
		return m.show((m.tab + 1) % tabs)
	case "shift+tab", "left":
		return m.show((m.tab + tabs - 1) % tabs)
	case "1", "2", "3", "4":
		return m.show(tab(name[0] - '1'))
	case "up", "k":
		m.cursor--
	case "down", "j":
		m.cursor++
	case "pgup":
		m.cursor -= m.room()
	case "pgdown":
		m.cursor += m.room()
	case "home", "g":
		m.cursor = 0
	case "end", "G":
		m.cursor = len(m.table().rows)
	case "s":
		if m.sorted[m.tab]++; m.sorted[m.tab] >= len(m.table().columns) {
			m.sorted[m.tab] = -1
		}
		m.reversed[m.tab] = false
	case "r":
		m.reversed[m.tab] = !m.reversed[m.tab]
	case "/":
		m.filtering = true
	case "p", "space":
		m.paused = !m.paused
		if !m.paused {
			return m.again()
		}
	case "w":
		if m.tab == tabLatency {
			m.nextWindow()
			return m.again()
		}
	case "x", "delete":
		m.confirm = m.worker()
	}
	return nil
}

func (m *model) nextWindow() {
	for i, window := range windows {
		if window == m.window {
			m.window = windows[(i+1)%len(windows)]
			return
		}
	}
}

// show turns to a tab.
func (m *model) show(t tab) tea.Cmd {
	m.tab, m.cursor, m.offset, m.help = t, 0, 0, false
	return m.again()
}

// write takes a letter of the filter.
func (m *model) write(key tea.KeyPressMsg) {
	switch key.String() {
	case "enter":
		m.filtering = false
	case "esc":
		m.filtering, m.filter = false, ""
	case "backspace":
		if letters := []rune(m.filter); len(letters) > 0 {
			m.filter = string(letters[:len(letters)-1])
		}
	case "ctrl+u":
		m.filter = ""
	default:
		if text := safe(key.Key().Text); text != "" && len(m.filter) < 64 {
			m.filter += text
		}
	}
	m.cursor, m.offset = 0, 0
}

// worker is the chosen one; nil where none is.
func (m *model) worker() *client.Worker {
	rows := m.table().rows
	if m.tab != tabWorkers || m.cursor >= len(rows) {
		return nil
	}
	for i, w := range m.data.workers.Workers {
		if w.ID == rows[m.cursor].id {
			return &m.data.workers.Workers[i]
		}
	}
	return nil
}

// decide takes the answer to whether a worker is to end. Only y is a yes.
func (m *model) decide(name string) tea.Cmd {
	w := m.confirm
	m.confirm = nil
	if name != "y" && name != "Y" {
		m.note = "nothing was done"
		return nil
	}
	ctx, service, id := m.ctx, m.options.Service, w.ID
	m.note = "ending worker " + safe(id)
	return func() tea.Msg {
		_, err := ask(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, service.EndWorker(ctx, id) })
		return ended{id, err}
	}
}

package top

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"claude-code-api-service/client"
)

// styles are how things look: in the sixteen colours, which every terminal shows as its
// user has chosen.
type styles struct {
	title, chosen, head lipgloss.Style
	moods               map[mood]lipgloss.Style
}

func newStyles(without bool) styles {
	none := lipgloss.NewStyle()
	if without {
		// What is chosen can still be told: reverse is no colour.
		return styles{title: none, chosen: none.Reverse(true), head: none, moods: map[mood]lipgloss.Style{}}
	}
	return styles{
		title: none.Bold(true), chosen: none.Reverse(true), head: none.Faint(true),
		moods: map[mood]lipgloss.Style{
			good: none.Foreground(lipgloss.Green), bad: none.Foreground(lipgloss.Red), uneasy: none.Foreground(lipgloss.Yellow), faint: none.Faint(true),
		},
	}
}

func (s *styles) in(m mood, text string) string {
	if style, ok := s.moods[m]; ok {
		return style.Render(text)
	}
	return text
}

// View implements tea.Model.
func (m *model) View() tea.View {
	view := tea.NewView(m.screen())
	view.AltScreen = true
	view.WindowTitle = "claude-api top"
	return view
}

// screen is all that is seen: never more lines than the terminal has, none wider than it.
func (m *model) screen() string {
	if m.width <= 0 || m.height <= 0 {
		return ""
	}
	lines := m.header()
	lines = append(lines, m.tabLine())
	switch room := m.room(); {
	case m.help:
		lines = append(lines, m.helpLines()...)
	case room > 0:
		lines = append(lines, m.tableLines(room)...)
	}
	if len(lines) > m.height-1 {
		lines = lines[:max(0, m.height-1)]
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, m.footer())
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, m.width, "…")
	}
	return strings.Join(lines, "\n")
}

// headLines is how many lines stand above the rows of a table: the header, the tabs and
// the columns' titles.
func (m *model) headLines() int { return len(m.header()) + 2 }

// room is how many rows of a table there is room for.
func (m *model) room() int { return max(0, m.height-m.headLines()-1) }

// header says how the service is.
func (m *model) header() []string {
	o := m.data.overview
	if o == nil {
		what := "asking " + safe(m.options.Address)
		if m.err != nil {
			what = m.style.in(bad, safe(message(m.err)))
		}
		return []string{m.style.title.Render("claude-api") + gap + what}
	}
	state := m.style.in(moodOf(o.Status), safe(o.Status))
	if !o.Ready.Ready {
		state += gap + m.style.in(bad, "not ready: "+safe(o.Ready.Reason))
	}
	first := m.style.title.Render("claude-api "+safe(o.Version)) + gap + safe(m.options.Address) + gap + state + gap + "up " + long(o.Uptime)
	if n := len(o.Nodes); n > 1 {
		first += gap + fmt.Sprintf("node %s of %d", safe(o.Node), n)
	}
	errors := fmt.Sprintf("%.1f%% errors", 100*o.Rates.ErrorRatio)
	if o.Rates.ErrorRatio > 0 {
		errors = m.style.in(bad, errors)
	}
	second := fmt.Sprintf("%.1f requests/s", o.Rates.Requests) + gap + errors + gap +
		fmt.Sprintf("%.0f tokens/s  %s USD/min  %d running", o.Rates.Tokens, dollars(int64(o.Rates.Cost)), o.Live) + gap +
		fmt.Sprintf("tasks %d running %d queued", o.RunningJobs, o.QueuedJobs)
	if o.WaitingApprovals > 0 {
		second += gap + m.style.in(bad, fmt.Sprintf("%d asking", o.WaitingApprovals))
	}
	if o.Memory.RSS > 0 {
		second += gap + fmt.Sprintf("%d MiB", o.Memory.RSS>>20)
	}
	lines := []string{first, second}
	if p := o.Pool; p != nil {
		third := fmt.Sprintf("workers %d busy %d idle (%d held) %d parked %d starting, %d to %d", p.Busy, p.Idle, p.Held, p.Parked, p.Starting, p.Min, p.Max)
		waiting := fmt.Sprintf("%d requests wait", p.Queued)
		if p.Queued > 0 {
			waiting = m.style.in(uneasy, waiting)
		}
		third += gap + waiting
		if p.Reason != "" {
			third += gap + m.style.in(bad, safe(p.Reason))
		}
		lines = append(lines, third)
	}
	if text := m.troubles(o); text != "" {
		lines = append(lines, text)
	}
	return lines
}

// troubles names what isn't as it should be: parts, and breakers that are open.
func (m *model) troubles(o *client.Overview) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(o.Services)) {
		if s := o.Services[name]; s.Status != client.HealthOK && s.Status != client.HealthOff {
			list = append(list, m.style.in(moodOf(s.Status), safe(name+" "+s.Status+": "+s.Detail)))
		}
	}
	for _, b := range o.Breakers {
		if b.State != "closed" {
			list = append(list, m.style.in(bad, safe("breaker of "+b.Backend+" "+b.Family+" is "+strings.ReplaceAll(b.State, "_", " "))))
		}
	}
	return strings.Join(list, gap)
}

func moodOf(status string) mood {
	switch status {
	case client.HealthOK:
		return good
	case client.HealthDegraded:
		return uneasy
	case client.HealthOff:
		return faint
	}
	return bad
}

func (m *model) tabLine() string {
	var parts []string
	for t := range tabs {
		text := fmt.Sprintf(" %d %s ", t+1, t)
		if t == m.tab {
			text = m.style.chosen.Render(text)
		}
		parts = append(parts, text)
	}
	line := strings.Join(parts, "")
	if m.tab == tabLatency {
		line += gap + "of the last " + long(m.window.Seconds())
	}
	if m.filter != "" || m.filtering {
		line += gap + "/" + m.filter
		if m.filtering {
			line += "_"
		}
	}
	return line
}

// tableLines are the titles and the rows that there is room for.
func (m *model) tableLines(room int) []string {
	t := m.table()
	widths := t.widths(m.width)
	var head []string
	for i, w := range widths {
		c := t.columns[i]
		title := c.title
		if i == m.sorted[m.tab] {
			mark := "↑"
			if c.big != m.reversed[m.tab] {
				mark = "↓"
			}
			title += mark
		}
		head = append(head, fit(title, w, c.right))
	}
	lines := []string{m.style.head.Render(strings.Join(head, gap))}
	if len(t.rows) == 0 {
		what := "nothing"
		switch {
		case m.filter != "":
			what = "nothing with " + m.filter
		case m.data.at.IsZero():
			what = ""
		}
		return append(lines, what)
	}
	for i := m.offset; i < min(len(t.rows), m.offset+room); i++ {
		lines = append(lines, m.rowLine(t, i, widths))
	}
	return lines
}

func (m *model) rowLine(t *table, i int, widths []int) string {
	r, chosen := t.rows[i], i == m.cursor
	var cells []string
	for c, w := range widths {
		text := fit(r.cells[c].text, w, t.columns[c].right)
		mood := r.cells[c].mood
		if r.faint && mood == plain {
			mood = faint
		}
		if !chosen {
			text = m.style.in(mood, text)
		}
		cells = append(cells, text)
	}
	line := strings.Join(cells, gap)
	if chosen {
		line = m.style.chosen.Render(line)
	}
	return line
}

// keep keeps the chosen line among those that there are, and seen.
func (m *model) keep() {
	n, room := len(m.table().rows), m.room()
	m.cursor = max(0, min(m.cursor, n-1))
	if m.cursor < m.offset {
		m.offset = m.cursor
	}
	if room > 0 && m.cursor >= m.offset+room {
		m.offset = m.cursor - room + 1
	}
	m.offset = min(m.offset, max(0, n-room)) // nothing is left empty
}

func (m *model) footer() string {
	switch {
	case m.confirm != nil:
		what := "End worker " + safe(m.confirm.ID) + "?"
		if m.confirm.RequestID != "" {
			what = "End worker " + safe(m.confirm.ID) + "? Its request " + safe(m.confirm.RequestID) + " will fail."
		}
		return m.style.in(bad, what+" y: yes, any other key: no")
	case m.filtering:
		return "type what to look for; enter: keep it, esc: leave it"
	case m.note != "":
		return m.note
	case m.err != nil && m.data.overview != nil:
		return m.style.in(bad, safe(message(m.err))) + gap + "as of " + age(m.data.at)
	case m.paused:
		return m.style.in(uneasy, "paused") + gap + "p: go on, q: leave, ?: help"
	}
	keys := "q: leave  tab: next  s: sort  r: turn round  /: look for  p: pause  ?: help"
	if m.tab == tabWorkers {
		keys = "x: end worker  " + keys
	}
	if m.tab == tabLatency {
		keys = "w: window  " + keys
	}
	return m.style.head.Render(keys)
}

func age(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.Local().Format("15:04:05")
}

func (m *model) helpLines() []string {
	var letters []string
	for _, s := range stages {
		letters = append(letters, s.letter+" "+s.name)
	}
	return []string{
		"",
		"1 2 3 4, tab      requests, workers, latency, tasks",
		"up down, j k      choose a line",
		"s, r              sort by the next column; the other way round",
		"/                 show only lines that hold a text; esc: all",
		"w                 latency of the last minute, 5 or 15 minutes",
		"x                 end the chosen worker; asks first",
		"p, space          pause, so that nothing moves",
		"q, ctrl+c         leave",
		"",
		"STAGES draws how a request's time is shared out: " + strings.Join(letters, ", "),
		"A request with + in front is a call of another one's.",
	}
}

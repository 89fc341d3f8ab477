package top

import (
	"fmt"
	"strings"
	"time"

	"claude-code-api-service/client"
)

// table gives what the present tab shows, filtered and sorted.
func (m *model) table() *table {
	var t *table
	switch m.tab {
	case tabWorkers:
		t = workersTable(m.data.workers)
	case tabLatency:
		t = latencyTable(m.data.latency)
	case tabTasks:
		t = tasksTable(m.data.tasks, m.data.at)
	default:
		t = requestsTable(m.data.requests)
	}
	t.keepOnly(m.filter)
	t.sort(m.sorted[m.tab], m.reversed[m.tab])
	return t
}

// barCells is how long the bar of a request's stages is.
const barCells = 16

// stages are those of a request, in their order, with the letter that stands for each in
// its bar.
var stages = []struct{ name, letter string }{
	{"auth", "a"}, {"decode", "d"}, {"admit", "m"}, {"queue", "Q"}, {"bind", "b"}, {"first_byte", "f"}, {"generate", "G"}, {"record", "r"},
}

// stageBar draws how long each stage of a request took of the whole. A stage that took
// next to nothing isn't in it.
func stageBar(r *client.Request) string {
	total := 0.0
	for _, s := range stages {
		total += r.Stages[s.name]
	}
	if total <= 0 {
		return ""
	}
	var bar strings.Builder
	done, drawn := 0.0, 0
	for _, s := range stages {
		done += r.Stages[s.name]
		n := int(done/total*barCells+0.5) - drawn
		bar.WriteString(strings.Repeat(s.letter, max(n, 0)))
		drawn += max(n, 0)
	}
	return bar.String()
}

func requestsTable(requests *client.Requests) *table {
	t := &table{columns: []column{
		{title: "ID", most: 24}, {title: "STATUS"}, {title: "STAGE"}, {title: "TOOK", right: true, big: true}, {title: "TTFT", right: true, big: true},
		{title: "STAGES"}, {title: "ENDPOINT", most: 24}, {title: "MODEL", most: 20}, {title: "BACKEND"}, {title: "TOKENS", right: true, big: true},
		{title: "USD", right: true, big: true}, {title: "PROJECT", most: 16}, {title: "KEY", most: 20},
	}}
	if requests == nil {
		return t
	}
	for _, list := range [][]client.Request{requests.Live, requests.Recent} {
		for i := range list {
			t.rows = append(t.rows, requestRow(&list[i]))
		}
	}
	return t
}

func requestRow(r *client.Request) row {
	status, stage := cell{text: "running", mood: good}, word(r.Stage)
	if r.Status != 0 {
		status, stage = cell{text: fmt.Sprint(r.Status)}, word(r.Category)
		if r.Status >= 400 {
			status.mood, stage.mood = bad, bad
		}
	}
	first := number("-", -1)
	if r.TTFTMS != nil {
		first = number(milliseconds(*r.TTFTMS), *r.TTFTMS)
	}
	cost := number("-", -1)
	if r.CostMicroUSD != nil {
		cost = number(dollars(*r.CostMicroUSD), float64(*r.CostMicroUSD))
	}
	model := r.ModelAnswered
	for _, other := range []string{r.ModelRouted, r.ModelRequested} {
		if model == "" {
			model = other
		}
	}
	key := r.KeyName
	if key == "" {
		key = r.KeyID
	}
	id := word(r.ID)
	if r.Part {
		id.text = "+" + id.text
	}
	tokens := r.InputTokens + r.OutputTokens
	return row{id: r.ID, faint: r.Status != 0, cells: []cell{
		id, status, stage, number(milliseconds(r.ElapsedMS), r.ElapsedMS), first, {text: stageBar(r)}, word(r.Endpoint), word(model), word(r.Backend),
		number(fmt.Sprint(tokens), float64(tokens)), cost, word(r.ProjectID), word(key),
	}}
}

func workersTable(workers *client.Workers) *table {
	t := &table{columns: []column{
		{title: "ID", most: 24}, {title: "STATE"}, {title: "PID", right: true}, {title: "AGE", right: true, big: true}, {title: "AT REST", right: true, big: true},
		{title: "TURNS", right: true, big: true}, {title: "MIB", right: true, big: true}, {title: "MODEL", most: 20}, {title: "PROJECT", most: 16}, {title: "REQUEST", most: 28},
	}}
	if workers == nil {
		return t
	}
	for _, w := range workers.Workers {
		state := word(w.State)
		switch w.State {
		case "busy", "bound":
			state.mood = good
		case "starting", "draining":
			state.mood = uneasy
		}
		t.rows = append(t.rows, row{id: w.ID, cells: []cell{
			word(w.ID), state, number(known(int64(w.PID)), float64(w.PID)), number(long(w.AgeSeconds), w.AgeSeconds), number(long(w.IdleSeconds), w.IdleSeconds),
			number(fmt.Sprint(w.Turns), float64(w.Turns)), number(known(w.RSSBytes>>20), float64(w.RSSBytes)), word(w.Model), word(w.ProjectID), word(w.RequestID),
		}})
	}
	return t
}

func latencyTable(latency *client.Latency) *table {
	ms := func(title string) column { return column{title: title, right: true, big: true} }
	t := &table{columns: []column{
		{title: "ENDPOINT", most: 28}, {title: "BACKEND"}, {title: "MODEL", most: 20}, ms("COUNT"), ms("ERRORS"), ms("P50"), ms("P95"), ms("P99"), ms("MAX"), ms("TTFT P50"), ms("TTFT P95"),
		ms("QUEUE P95"), ms("BIND P95"), ms("FIRST BYTE P95"),
	}}
	if latency == nil {
		return t
	}
	for _, s := range latency.Series {
		errors := number(fmt.Sprint(s.Errors), float64(s.Errors))
		if s.Errors > 0 {
			errors.mood = bad
		}
		r := row{id: s.Endpoint + " " + s.Backend + " " + s.Model, cells: []cell{
			word(s.Endpoint), word(s.Backend), word(s.Model), number(fmt.Sprint(s.Count), float64(s.Count)), errors,
		}}
		for _, n := range []float64{s.P50MS, s.P95MS, s.P99MS, s.MaxMS, s.TTFTP50MS, s.TTFTP95MS, s.Stages["queue"].P95MS, s.Stages["bind"].P95MS, s.Stages["first_byte"].P95MS} {
			r.cells = append(r.cells, number(milliseconds(n), n))
		}
		t.rows = append(t.rows, r)
	}
	return t
}

func tasksTable(tasks *client.TaskPage, now time.Time) *table {
	t := &table{columns: []column{
		{title: "ID", most: 32}, {title: "STATUS"}, {title: "ASKS", right: true, big: true}, {title: "AGE", right: true, big: true}, {title: "TOOK", right: true, big: true},
		{title: "TRY", right: true, big: true}, {title: "USD", right: true, big: true}, {title: "PROJECT", most: 16}, {title: "KEY", most: 20}, {title: "DESCRIPTION", most: 60},
	}}
	if tasks == nil {
		return t
	}
	for i := range tasks.Tasks {
		task := &tasks.Tasks[i]
		status := word(task.Status)
		switch task.Status {
		case client.StatusRunning:
			status.mood = good
		case client.StatusFailed:
			status.mood = bad
		case client.StatusQueued, client.StatusCancelled:
			status.mood = uneasy
		}
		asks := number(known(int64(len(task.Approvals))), float64(len(task.Approvals)))
		if len(task.Approvals) > 0 {
			asks.mood = bad
		}
		took := 0.0
		if !task.StartedAt.IsZero() {
			end := task.EndedAt
			if end.IsZero() {
				end = now
			}
			took = end.Sub(task.StartedAt).Seconds()
		}
		cost := number("-", -1)
		if task.CostUSD != nil {
			cost = number(dollars(int64(*task.CostUSD*1e6+0.5)), *task.CostUSD)
		}
		age := now.Sub(task.CreatedAt).Seconds()
		t.rows = append(t.rows, row{id: task.ID, faint: task.Ended(), cells: []cell{
			word(task.ID), status, asks, number(long(age), age), number(long(took), took), number(fmt.Sprint(task.Attempt), float64(task.Attempt)), cost,
			word(task.ProjectID), word(task.KeyID), word(strings.Join(strings.Fields(task.Description), " ")),
		}})
	}
	return t
}

// known writes a number; "-" for 0, which isn't known.
func known(n int64) string {
	if n <= 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// milliseconds writes a time in the unit that suits it.
func milliseconds(ms float64) string {
	switch {
	case ms <= 0:
		return "-"
	case ms < 1:
		return fmt.Sprintf("%.2fms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0fms", ms)
	}
	return long(ms / 1000)
}

// long writes seconds in two units at the most.
func long(seconds float64) string {
	s := int64(seconds)
	switch {
	case seconds <= 0:
		return "-"
	case s < 1:
		return "<1s"
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86_400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86_400, s/3600%24)
}

// dollars writes millionths of a US dollar.
func dollars(micros int64) string {
	if micros != 0 && micros < 10_000 {
		return fmt.Sprintf("%.6f", float64(micros)/1e6)
	}
	return fmt.Sprintf("%.2f", float64(micros)/1e6)
}

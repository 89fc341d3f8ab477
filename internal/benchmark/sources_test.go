package benchmark

import (
	"bytes"

	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const millisecond = time.Millisecond

func TestFigures(t *testing.T) {
	if f := (Samples{}).Figures(); f != (Figures{}) {
		t.Errorf("of nothing: %+v", f)
	}
	var s Samples
	for i := 100; i >= 1; i-- {
		s = append(s, time.Duration(i)*millisecond)
	}
	if f := s.Figures(); f != (Figures{P10: 10, P50: 50, P90: 90, P95: 95, Count: 100}) {
		t.Errorf("%+v", f)
	}
	if f := (Samples{1500 * time.Nanosecond}).Figures(); f.P50 != 0.001 {
		t.Errorf("a microsecond: %v", f.P50)
	}
}

func TestRatioOf(t *testing.T) {
	if r := ratioOf(nil, Samples{1}); r != (Ratio{}) {
		t.Errorf("of nothing: %+v", r)
	}
	a, b := Samples{0}, Samples{7}
	for i := 1; i <= 10; i++ {
		a, b = append(a, 10), append(b, time.Duration(10*i))
	}
	if r := ratioOf(a, b); r.P10 != 1 || r.P90 != 9 || r.Medians != 5 {
		t.Errorf("%+v", r)
	}
}

// TestSpread fills the time evenly, however many there are.
func TestSpread(t *testing.T) {
	for _, count := range []int{1, 2, 8, 32} {
		seen := map[time.Duration]bool{}
		for i := range count {
			at := spread(i, time.Second)
			if at < 0 || at >= time.Second || seen[at] {
				t.Errorf("the %dth is at %v", i, at)
			}
			seen[at] = true
		}
		for i := range count {
			if !seen[time.Duration(i)*time.Second/time.Duration(count)] {
				t.Errorf("of %d, none is at %d/%d", count, i, count)
			}
		}
	}
}

// TestFormerLoop: the loop gives results and errors, later than they are there.
func TestFormerLoop(t *testing.T) {
	l := newFormerLoop()
	defer l.close()
	var ended atomic.Int64
	if err := l.do(t.Context(), func() error { ended.Store(time.Now().UnixNano()); return nil }); err != nil {
		t.Fatal(err)
	}
	if late := time.Now().UnixNano() - ended.Load(); late < int64(formerLoopPause) {
		t.Errorf("it was told after %v, before the loop's shortest pause", time.Duration(late))
	}
	broken := errors.New("broken")
	if err := l.do(t.Context(), func() error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// TestFormerDatabase does what it should, in a file that SQLite opens.
func TestFormerDatabase(t *testing.T) {
	d, err := newFormerDatabase(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if took, err := d.walk(t.Context()); err != nil || took <= 0 {
			t.Fatalf("%v, %v", took, err)
		}
	}
	if took, err := formerPrompt(t.TempDir(), "x"); err != nil || took <= 0 {
		t.Errorf("%v, %v", took, err)
	}
	if _, err := formerPrompt("/nowhere", "x"); err == nil {
		t.Error("a prompt was written nowhere")
	}
}

// invented is a run with figures that nothing else has.
func invented() *Run {
	r := &sourcesRun{}
	for to, ms := range map[*Samples]float64{
		&r.cold: 411, &r.parked: 122, &r.warm: 23, &r.rebound: 34, &r.bind: 5.5, &r.direct: 1.75, &r.upstream: 0.625,
		&r.polled: 301, &r.pushed: 0.012, &r.alone: 507, &r.together: 208, &r.connections: 14, &r.walk: 0.25, &r.file: 0.375,
	} {
		*to = Samples{time.Duration(ms * float64(millisecond))}
	}
	return &Run{
		At: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Version: "1.2.3", CLI: "2.1.331", Rounds: 1,
		Machine: Machine{Name: "box", OS: "linux", Arch: "amd64", CPU: "A <fast> & good one", Cores: 2}, Sources: r.sum(),
	}
}

// TestTheTable has every source with both figures and what is saved, and says what is
// simulated.
func TestTheTable(t *testing.T) {
	var out strings.Builder
	run := invented()
	run.Sources.Print(&out)
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"1 a process for each request 3,000–8,000 ms 411.0 (411.0–411.0, 1) 23.0 (23.0–23.0, 1) 388.0",
		"2 looking for the result * 0–600 ms 301.0 (301.0–301.0, 1) 0.012 (0.012–0.012, 1) 301.0",
		"3 one request at a time * 0–5,000 ms 507.0 (507.0–507.0, 1) 208.0 (208.0–208.0, 1) 299.0",
		"4 a connection for each query * about 5 ms 14.0 (14.0–14.0, 1) 0.250 (0.250–0.250, 1) 13.8",
		"5 the prompt in a file * under 1 ms 0.375 (0.375–0.375, 1) 0 0.375",
		"6 the CLI where it isn't needed – 23.0 (23.0–23.0, 1) 1.75 (1.75–1.75, 1) 21.2",
		"one request alone 5,500 ms 726.4 23.0 703.4",
		"On the direct path: 1.75 ms.",
		"parked: a process's first turn 122.0 (122.0–122.0, 1) –",
		"warm, to be set anew 34.0 (34.0–34.0, 1) 5.50",
		"the imitated API alone 0.625",
		"Before is simulated, with the waits and statements of the former service's source, for: looking for the result, one request at a time, a connection for each query, the prompt in a file.",
		"the model is an imitation on loopback",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

// TestTheChart is well-formed, has a title and a description, every figure, both
// schemes, and nothing that is fetched.
func TestTheChart(t *testing.T) {
	var out bytes.Buffer
	run := invented()
	if err := run.WriteSVG(&out); err != nil {
		t.Fatal(err)
	}
	var texts []string
	elements := map[string]int{}
	decoder := xml.NewDecoder(bytes.NewReader(out.Bytes()))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("it isn't well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
			for _, a := range token.Attr {
				if a.Name.Local == "href" || a.Name.Local == "src" || strings.Contains(a.Value, "url(") || strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s has %s=%q", token.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			texts = append(texts, strings.TrimSpace(string(token)))
		}
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{
		"Latency before and after", "a process for each request: 411.0 ms before, 23.0 ms after.", "5,500 ms",
		"411.0", "301.0", "507.0", "208.0", "0.250", "nothing", "726.4", "(direct: 1.75)", "A <fast> & good one", "4 March 2026",
		"prefers-color-scheme: dark",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("it lacks %q:\n%s", want, all)
		}
	}
	if elements["title"] != 1 || elements["desc"] != 1 || elements["script"]+elements["image"]+elements["foreignObject"] != 0 {
		t.Errorf("elements: %v", elements)
	}
	if strings.Contains(out.String(), "@import") || strings.Contains(out.String(), "@font-face") {
		t.Error("it fetches a font")
	}
	if err := (&Run{Compare: &Compare{}}).WriteSVG(&out); err == nil {
		t.Error("a chart of nothing")
	}
}

func TestHistory(t *testing.T) {
	folder := t.TempDir() + "/new"
	if runs, skipped, err := History(folder); err != nil || len(runs) != 0 || skipped != 0 {
		t.Errorf("without a file: %v, %d, %v", runs, skipped, err)
	}
	first, other, last := invented(), invented(), invented()
	other.Machine.Name = "another"
	compared := &Run{At: first.At, Machine: first.Machine, Compare: &Compare{Service: Side{URL: "http://x", Total: Figures{P50: 3}}}}
	for _, run := range []*Run{first, other, compared, last} {
		if err := Append(folder, run); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(HistoryFile(folder))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	file, err := os.OpenFile(HistoryFile(folder), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("{\"at\":\"2026-\n{}\n"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	runs, skipped, err := History(folder)
	if err != nil || skipped != 2 || len(runs) != 4 {
		t.Fatalf("%d runs, %d skipped, %v", len(runs), skipped, err)
	}
	if runs[0].Way(WayCold) != 411 || runs[2].Way(WayCold) != 0 || runs[2].Compare.Service.Total.P50 != 3 || !runs[0].At.Equal(first.At) {
		t.Errorf("%+v", runs)
	}
	if f := Former(runs); f[0] != nil || f[1] != nil || f[2] != nil || f[3] != &runs[0] {
		t.Errorf("%v", f)
	}
}

// planted is a service of one shape that answers after a delay, and counts.
func planted(t *testing.T, shape, key string, delay time.Duration, asked *atomic.Int64) Target {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		time.Sleep(delay)
		w.Header().Set("Server-Timing", "auth;dur=0.5")
		switch {
		case shape == ShapeOpenAI && r.URL.Path == "/v1/chat/completions" && r.Header.Get("Authorization") == "Bearer "+key:
			_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n")
		case shape == ShapeAnthropic && r.URL.Path == "/v1/messages" && r.Header.Get("X-Api-Key") == key:
			_, _ = io.WriteString(w, "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n")
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"no such key"}`)
		}
	}))
	t.Cleanup(server.Close)
	return Target{URL: server.URL + "/v1/", Key: key, Shape: shape, Model: "haiku"}
}

// TestCompare finds which of two services is slower, and by how much, in both
// directions and both shapes; and asks each no more often than it says.
func TestCompare(t *testing.T) {
	for _, shape := range []string{ShapeOpenAI, ShapeAnthropic} {
		t.Run(shape, func(t *testing.T) {
			var fastAsked, slowAsked atomic.Int64
			fast, slow := planted(t, shape, "a", 10*millisecond, &fastAsked), planted(t, shape, "b", 80*millisecond, &slowAsked)
			const rounds = 6
			c, err := RunCompare(t.Context(), CompareOptions{Service: fast, Against: &slow, Rounds: rounds, Round: func(int) {}})
			if err != nil {
				t.Fatal(err)
			}
			if c.Total.Medians <= 1 || c.First.Medians <= 1 || c.Total.P10 > c.Total.Medians || c.Total.P90 < c.Total.Medians {
				t.Errorf("the slower one is %+v times as slow, %+v to the first token", c.Total, c.First)
			}
			if c.Against.Total.P10 < 80 || c.Against.First.P10 < 80 {
				t.Errorf("the slower one is faster than it can be: %+v", c.Against)
			}
			if c.Service.Total.Count != rounds || c.Against.First.Count != rounds || c.Service.Stages["auth"].P50 != 0.5 {
				t.Errorf("%+v against %+v", c.Service, c.Against)
			}
			if fastAsked.Load() != rounds+1 || slowAsked.Load() != rounds+1 {
				t.Errorf("asked %d and %d times", fastAsked.Load(), slowAsked.Load())
			}
			var out strings.Builder
			c.Print(&out)
			if !strings.Contains(out.String(), "times as long to the first token") || !strings.Contains(out.String(), c.Against.URL) || !strings.Contains(out.String(), "auth 0.500") {
				t.Error(out.String())
			}
			if c, err = RunCompare(t.Context(), CompareOptions{Service: slow, Against: &fast, Rounds: 3, Round: func(int) {}}); err != nil || c.Total.Medians >= 1 {
				t.Errorf("the other way round: %+v, %v", c, err)
			}
		})
	}
}

// TestCompareRefuses: what can't be compared is said, without the key.
func TestCompareRefuses(t *testing.T) {
	var asked atomic.Int64
	good := planted(t, ShapeOpenAI, "a", 0, &asked)
	for name, test := range map[string]struct {
		change func(o *CompareOptions)
		want   string
	}{
		"a wrong key":     {func(o *CompareOptions) { o.Service.Key = "hidden" }, "401"},
		"a user":          {func(o *CompareOptions) { o.Service.URL = "http://u:hidden@127.0.0.1" }, "without a user"},
		"no URL":          {func(o *CompareOptions) { o.Against.URL = "127.0.0.1:8006" }, "http://host"},
		"nobody there":    {func(o *CompareOptions) { o.Against.URL = "http://127.0.0.1:9" }, "refused"},
		"no rounds":       {func(o *CompareOptions) { o.Rounds = 0 }, "rounds"},
		"too many rounds": {func(o *CompareOptions) { o.Rounds = MaxRounds + 1 }, "rounds"},
		"another shape":   {func(o *CompareOptions) { o.Against.Shape = ShapeAnthropic }, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			other := good
			o := CompareOptions{Service: good, Against: &other, Rounds: 2, Round: func(int) {}}
			test.change(&o)
			_, err := RunCompare(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestCompareFailures: single failures are counted and leave no sample; three in a row
// end it.
func TestCompareFailures(t *testing.T) {
	var asked atomic.Int64
	fails := func(when func(n int64) bool) Target {
		asked.Store(0)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if when(asked.Add(1)) {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n")
		}))
		t.Cleanup(server.Close)
		return Target{URL: server.URL, Key: "a", Shape: ShapeOpenAI}
	}
	var other atomic.Int64
	good := planted(t, ShapeOpenAI, "a", 0, &other)
	c, err := RunCompare(t.Context(), CompareOptions{Service: good, Against: new(fails(func(n int64) bool { return n%3 == 0 })), Rounds: 6, Round: func(int) {}})
	if err != nil || c.Against.Failed != 2 || c.Service.Failed != 0 || c.Service.Total.Count != 4 || c.Against.Total.Count != 4 {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = RunCompare(t.Context(), CompareOptions{Service: fails(func(n int64) bool { return n > 2 }), Rounds: 50, Round: func(int) {}})
	if err == nil || !strings.Contains(err.Error(), "in a row") || asked.Load() != 5 {
		t.Errorf("%v after %d", err, asked.Load())
	}
}

// TestFormsOfNumbers holds how figures are written.
func TestFormsOfNumbers(t *testing.T) {
	for ms, want := range map[float64]string{0: "0", 0.0124: "0.012", 1.234: "1.23", 23.45: "23.4", 999.96: "1000.0", 1000: "1,000", 1234567: "1,234,567", -2.5: "-2.50"} {
		if got := cell(ms); got != want {
			t.Errorf("%v is written %q, want %q", ms, got, want)
		}
	}
}

// TestThePageShowsWhatIsMeasured holds the tables of docs/latency.md, and its chart,
// against the sources and ways that there are.
func TestThePageShowsWhatIsMeasured(t *testing.T) {
	page, err := os.ReadFile("../../docs/latency.md")
	if err != nil {
		t.Fatal(err)
	}
	chart, err := os.ReadFile("../../docs/images/latency.svg")
	if err != nil {
		t.Fatal(err)
	}
	s := invented().Sources
	for i, source := range s.Sources {
		if row := fmt.Sprintf("\n| %d | %s", i+1, source.Name); strings.Count(string(page), row) != 2 {
			t.Errorf("the page doesn't have %q in both tables", row)
		}
		if !strings.Contains(string(chart), escaped(fmt.Sprintf("%d  %s", i+1, source.Name))) {
			t.Errorf("the chart doesn't show %s", source.Name)
		}
	}
	for _, way := range s.Ways {
		if !strings.Contains(string(page), "\n| "+way.Name+" |") {
			t.Errorf("the page doesn't have %q", way.Name)
		}
	}
}

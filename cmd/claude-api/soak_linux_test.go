package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/chaostest"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/simulator"
)

var soakMinutes = flag.Float64("soak-minutes", 0, "how long TestSoak loads the service; 0: not at all")

const (
	soakCallers = 4
	// soakPause is between two requests of a caller: the machine must not be the
	// limit, or every other load on it would show as latency.
	soakPause = 20 * time.Millisecond

	// What a process may grow by in the last three quarters of a run, along the line
	// that fits its samples best: a share of what it began with, and a little for the
	// garbage that waits to be collected.
	mostGrowth    = 0.25
	mostGrowthMiB = 24
	// mostSlower is how much slower the last quarter may be than the second. The 99th
	// percentile has more room: it follows whatever else the machine does.
	mostSlower     = 1.5
	mostSlowerTail = 3
)

// period is what was seen in one part of a run.
type period struct {
	at                   time.Duration
	requests             int
	service, workers     float64 // resident memory in MiB, of all workers together
	goroutines, files    int
	cliP50, cliP99       time.Duration
	directP50, directP99 time.Duration
}

// soak collects what its callers measure.
type soak struct {
	*chaos
	count atomic.Int64
	took  map[string][]time.Duration // by backend, since the last period; guarded by mu
}

// TestSoak loads the service with the real CLI for as long as it is told, on every
// route, with callers that leave. Memory and latency must not grow.
func TestSoak(t *testing.T) {
	if *soakMinutes <= 0 {
		t.Skip("by hand: make soak")
	}
	s := newSoak(t)
	length := time.Duration(*soakMinutes * float64(time.Minute))
	var callers sync.WaitGroup
	for caller := range soakCallers {
		callers.Go(func() { s.call(caller) })
	}
	every := min(time.Minute, length/20)
	var seen []period
	for at := every; at <= length; at += every {
		<-time.After(every)
		seen = append(seen, s.sample(at))
	}
	s.over.Store(true)
	callers.Wait()
	t.Logf("%d requests in %v\n%s", s.count.Load(), length, soakTable(seen))
	for _, text := range s.wrong {
		t.Error(text)
	}
	for _, text := range grown(seen) {
		t.Error(text)
	}
}

// TestWhatGrowsIsSeen shows figures to the judge of TestSoak, which runs by hand
// only.
func TestWhatGrowsIsSeen(t *testing.T) {
	flat := func(i int) period {
		return period{
			service: 60 + float64(i%3), workers: 900 + float64(50*(i%5)), goroutines: 40 + i%4, files: 50,
			cliP50: 20 * time.Millisecond, cliP99: time.Duration(60+i%7) * time.Millisecond, directP50: time.Millisecond, directP99: 5 * time.Millisecond,
		}
	}
	for name, tt := range map[string]struct {
		change func(i int, p *period)
		want   string
	}{
		"flat":             {func(int, *period) {}, ""},
		"a first rise":     {func(i int, p *period) { p.service += float64(10 * min(i, 5)) }, ""},
		"memory":           {func(i int, p *period) { p.service += float64(6 * i) }, "the service's memory"},
		"a worker's":       {func(i int, p *period) { p.workers += float64(40 * i) }, "the workers' memory"},
		"latency":          {func(i int, p *period) { p.cliP50 += time.Duration(i) * 3 * time.Millisecond }, "cli p50"},
		"goroutines":       {func(i int, p *period) { p.goroutines += 10 * i }, "goroutines"},
		"a few slow calls": {func(i int, p *period) { p.directP99 += time.Duration(i*i) * time.Millisecond / 4 }, "direct p99"},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []period
			for i := range 20 {
				p := flat(i)
				tt.change(i, &p)
				seen = append(seen, p)
			}
			got := grown(seen)
			if (tt.want == "") != (len(got) == 0) || len(got) > 0 && !strings.Contains(got[0], tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	up := simulator.New(simulator.Options{})
	url, err := up.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	c := &chaos{t: t, texts: map[chaostest.Who]string{}, ids: map[chaostest.Who]string{}}
	c.service = serve(t, url, clitest.Path(t, install.Version), "--log-level=info")
	c.ready(t)
	c.keys = apikey.NewKeys(apikey.Options{Store: c.ledger(t)})
	c.newKey(chaostest.Steady)
	return &soak{chaos: c, took: map[string][]time.Duration{}}
}

// call makes one request after the other. Nothing goes wrong on purpose: each is
// answered, unless its caller leaves.
func (s *soak) call(caller int) {
	for n := 0; !s.over.Load(); n++ {
		plan := chaostest.NewPlan(1, caller, n)
		plan.Fault, plan.CLI, plan.Who, plan.Slow = "", "", chaostest.Steady, false
		for _, e := range s.ask(plan) {
			verdict, why := e.judge()
			asked := e.plan.Route == chaostest.Once && e.status == http.StatusConflict // the first of two whose caller left still runs
			if verdict != gotWhole && verdict != gotLeft && !asked {
				s.fail("%s %s: %s", verdict, why, e)
			}
			if took := e.took.to.Sub(e.took.from); verdict == gotWhole && (plan.Route == chaostest.Chat || plan.Route == chaostest.Messages || plan.Route == chaostest.Process) {
				s.mu.Lock()
				s.took[plan.Backend] = append(s.took[plan.Backend], took)
				s.mu.Unlock()
			}
			s.count.Add(1)
		}
		<-time.After(soakPause)
	}
}

// sample takes what was measured since the last time, and looks at the processes.
func (s *soak) sample(at time.Duration) period {
	s.mu.Lock()
	took := s.took
	s.took = map[string][]time.Duration{}
	s.mu.Unlock()
	pid := s.cmd.Process.Pid
	p := period{at: at, requests: len(took["cli"]) + len(took["direct"]), service: residentMiB(pid)}
	for _, worker := range descendants(s.t, pid) {
		p.workers += residentMiB(worker)
	}
	p.goroutines = int(s.metric(s.t, "go_goroutines"))
	if files, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd")); err == nil {
		p.files = len(files)
	}
	p.cliP50, p.cliP99 = percentiles(took["cli"])
	p.directP50, p.directP99 = percentiles(took["direct"])
	return p
}

func percentiles(took []time.Duration) (p50, p99 time.Duration) {
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

// residentMiB is a process's resident memory; 0 when it has ended.
func residentMiB(pid int) float64 {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

// soakTable shows a run for people, and for docs/testing.md.
func soakTable(seen []period) string {
	var b strings.Builder
	b.WriteString("| after | requests | service MiB | workers MiB | goroutines | files | cli p50 | cli p99 | direct p50 | direct p99 |\n|---|---|---|---|---|---|---|---|---|---|\n")
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
	for _, p := range seen {
		fmt.Fprintf(&b, "| %v | %d | %.0f | %.0f | %d | %d | %s | %s | %s | %s |\n", p.at.Round(time.Second), p.requests, p.service, p.workers,
			p.goroutines, p.files, ms(p.cliP50), ms(p.cliP99), ms(p.directP50), ms(p.directP99))
	}
	return b.String()
}

// grown says what isn't flat.
func grown(seen []period) (wrong []string) {
	const quarters = 4
	if len(seen) < 2*quarters {
		return []string{fmt.Sprintf("%d periods are too few to judge", len(seen))}
	}
	quarter := len(seen) / quarters
	for _, memory := range []struct {
		name  string
		value func(period) float64
	}{
		{"the service's memory", func(p period) float64 { return p.service }},
		{"the workers' memory", func(p period) float64 { return p.workers }},
	} {
		from, to := fitted(seen[quarter:], memory.value)
		if to-from > mostGrowth*from+mostGrowthMiB {
			wrong = append(wrong, fmt.Sprintf("%s grows from %.0f to %.0f MiB after the first quarter", memory.name, from, to))
		}
	}
	for _, latency := range []struct {
		name  string
		most  float64
		value func(period) time.Duration
	}{
		{"cli p50", mostSlower, func(p period) time.Duration { return p.cliP50 }},
		{"cli p99", mostSlowerTail, func(p period) time.Duration { return p.cliP99 }},
		{"direct p50", mostSlower, func(p period) time.Duration { return p.directP50 }},
		{"direct p99", mostSlowerTail, func(p period) time.Duration { return p.directP99 }},
	} {
		median := func(part []period) time.Duration {
			var all []time.Duration
			for _, p := range part {
				all = append(all, latency.value(p))
			}
			return medianOf(all)
		}
		second, last := median(seen[quarter:2*quarter]), median(seen[len(seen)-quarter:])
		// Below a few milliseconds the machine's other work is all that is measured.
		if float64(last) > latency.most*float64(second)+float64(2*time.Millisecond) {
			wrong = append(wrong, fmt.Sprintf("%s: %v in the last quarter, %v in the second", latency.name, last, second))
		}
	}
	if first, last := seen[quarter], seen[len(seen)-1]; last.goroutines > 2*first.goroutines || last.files > 2*first.files {
		wrong = append(wrong, fmt.Sprintf("goroutines %d, then %d; files %d, then %d", first.goroutines, last.goroutines, first.files, last.files))
	}
	return wrong
}

// fitted gives the ends of the line that fits the values best (least squares).
func fitted(seen []period, value func(period) float64) (from, to float64) {
	n := float64(len(seen))
	var sumX, sumY, sumXX, sumXY float64
	for i, p := range seen {
		x, y := float64(i), value(p)
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	slope := (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX)
	from = (sumY - slope*sumX) / n
	return from, from + slope*(n-1)
}

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/chaostest"
	"claude-code-api-service/internal/sqlite"
)

// watchHealth looks at /health all the time, on a connection of its own.
func (c *chaos) watchHealth(ended <-chan struct{}) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	var took []time.Duration
	defer func() {
		c.mu.Lock()
		c.health = took
		c.mu.Unlock()
		if len(took) == 0 {
			c.fail("/health never answered")
			return
		}
		// Beside so much load on a small machine single looks say nothing.
		if median := medianOf(took); median > 50*time.Millisecond {
			c.fail("/health takes %v in the median", median)
		}
	}()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		began := time.Now()
		response, err := client.Get(c.url + "/health")
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		if err != nil || response.StatusCode != http.StatusOK {
			c.fail("/health doesn't answer: %v", err)
			continue
		}
		took = append(took, time.Since(began))
	}
}

// fillDisk takes the disk away from the service twice: it can't make a file longer
// than a few bytes, as on a disk that is full. It works for any user.
func (c *chaos) fillDisk(duration time.Duration) {
	for range 2 {
		<-time.After(duration / 4)
		from := time.Now()
		err := limitFiles(c.cmd.Process.Pid, 4096)
		if err != nil {
			c.fail("limit the service's files: %v", err)
			return
		}
		<-time.After(duration / 12)
		if err := limitFiles(c.cmd.Process.Pid, math.MaxUint64); err != nil {
			c.fail("lift the limit on the service's files: %v", err)
			return
		}
		c.mu.Lock()
		c.full = append(c.full, span{from, time.Now()})
		c.mu.Unlock()
	}
}

// limitFiles sets how long the files may be that a process writes (prlimit(2),
// RLIMIT_FSIZE), up to its hard limit, which stays as it is.
func limitFiles(pid int, most uint64) error {
	var limit syscall.Rlimit
	if err := prlimit(pid, nil, &limit); err != nil {
		return err
	}
	limit.Cur = min(most, limit.Max)
	return prlimit(pid, &limit, nil)
}

func prlimit(pid int, to, from *syscall.Rlimit) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(from)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// changeKeys rotates and revokes one key, and makes a new one where a budget has
// run out.
func (c *chaos) changeKeys(ended <-chan struct{}) {
	tick := time.NewTicker(700 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		id := c.ids[chaostest.Rotated]
		c.mu.Unlock()
		switch n % 4 {
		case 0, 2: // nobody has the new text at first: some are refused
			text, _, err := c.keys.Rotate(c.t.Context(), id, 0)
			if err != nil {
				c.fail("rotate a key: %v", err)
				continue
			}
			<-time.After(100 * time.Millisecond)
			c.mu.Lock()
			c.texts[chaostest.Rotated] = text
			c.mu.Unlock()
		case 1:
			if _, err := c.keys.Revoke(c.t.Context(), id); err != nil {
				c.fail("revoke a key: %v", err)
			}
			<-time.After(100 * time.Millisecond)
			c.newKey(chaostest.Rotated)
		case 3:
			c.newKey(chaostest.Poor)
		}
	}
}

// reload gives the service another credential for its upstream, again and again, and
// has it read its configuration: no request may fail for it.
func (c *chaos) reload(ended <-chan struct{}) {
	tick := time.NewTicker(1700 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		c.rotateCredential(n)
		c.signal(c.t, syscall.SIGHUP)
	}
}

func (c *chaos) rotateCredential(n int) {
	if err := os.WriteFile(c.credential, fmt.Appendf(nil, "%s-%d\n", plantedKey, n), 0o600); err != nil {
		c.fail("write a credential: %v", err)
	}
}

// databaseFile is the name of the service's database.
const databaseFile = "claude-api.db"

// footprint is what the service holds.
type footprint struct {
	goroutines, files, children int
	idle                        float64        // workers
	open                        map[string]int // what the files are
}

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %d processes, %v idle workers, %v", f.goroutines, f.files, f.children, f.idle, f.open)
}

func (c *chaos) footprint() footprint {
	values := c.metrics(c.t, "go_goroutines", `claude_api_cli_workers{state="idle"}`)
	c.client.CloseIdleConnections()
	f := footprint{goroutines: int(values[0]), children: len(descendants(c.t, c.cmd.Process.Pid)), idle: values[1], open: map[string]int{}}
	folder := filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid), "fd")
	files, err := os.ReadDir(folder)
	if err != nil {
		c.fail("%v", err)
	}
	for _, file := range files {
		if target, err := os.Readlink(filepath.Join(folder, file.Name())); err == nil {
			kind, _, _ := strings.Cut(filepath.Base(target), ":") // socket:[123], pipe:[123]
			f.open[kind]++
			// The database's connections are opened when they are first needed, and kept.
			if !strings.HasPrefix(kind, databaseFile) {
				f.files++
			}
		}
	}
	return f
}

// awaitFootprint waits until all workers are idle and what else is asked for.
func (c *chaos) awaitFootprint(what string, holds func(footprint) bool) footprint {
	c.client.CloseIdleConnections()
	deadline := time.Now().Add(chaosCalm)
	for {
		now := c.footprint()
		if now.idle == chaosWorkers && now.children == chaosWorkers && holds(now) {
			return now
		}
		if time.Now().After(deadline) {
			c.fail("not within %v: %s: %v; at the start %v; the upstream has %d in flight", chaosCalm, what, now, c.start, c.up.InFlight())
			return now
		}
		<-time.After(50 * time.Millisecond)
	}
}

// calm waits until what the service holds is what it held at the start: nothing of
// the load may be left. The slack is for what comes and goes by itself.
func (c *chaos) calm() {
	const slack = 4
	began := time.Now()
	c.up.Quiet()
	now := c.awaitFootprint("what the load has used is given back", func(f footprint) bool {
		return c.up.InFlight() == 0 && f.goroutines <= c.start.goroutines+slack && f.files <= c.start.files+slack && f.open[databaseFile] <= sqlite.DefaultReaders+1
	})
	c.t.Logf("calm after %v: %v; at the start %v", time.Since(began).Round(time.Millisecond), now, c.start)
}

// spendable looks for the least budget of the key that most requests bore with which
// a request is served. Just below it the budget must be spent: what was reserved for
// requests that have ended must not be in the way.
func (c *chaos) spendable() {
	owner := budget.Owner{Kind: budget.Key, ID: c.ids[chaostest.Steady]}
	spent, err := c.ledger(c.t).Spent(c.t.Context(), owner, budget.Total, time.Unix(0, 0))
	if err != nil {
		c.fail("%v", err)
		return
	}
	serves := func(above int64) bool {
		limit := budget.Limit{Owner: owner, Period: budget.Total, Unit: budget.Tokens, Hard: spent.Tokens + above}
		if err := c.keys.SetBudget(c.t.Context(), limit); err != nil {
			c.fail("set a budget: %v", err)
		}
		<-time.After(300 * time.Millisecond) // until the service has seen it
		a := c.probe(0)
		if a.status != http.StatusOK && strings.Contains(string(a.body), "held") {
			c.fail("%d tokens above what is spent, requests that have ended hold the budget: %s", above, a)
		}
		return a.status == http.StatusOK
	}
	// Requests that couldn't be recorded count in memory all the same, until a restart:
	// what they have used comes on top of the ledger's.
	const exactness, most = 200, 10_000_000
	below, above := int64(0), int64(exactness)
	for ; !serves(above); above *= 4 {
		if below = above; above > most {
			c.fail("the budget can't be spent: the ledger has %+v", spent)
			return
		}
	}
	for above-below > exactness {
		if middle := (above + below) / 2; serves(middle) {
			above = middle
		} else {
			below = middle
		}
	}
	c.t.Logf("of a budget %d tokens above the %d of the ledger a request is served", above, spent.Tokens)
}

func (c *chaos) probe(n int) *exchange {
	p := chaostest.Plan{Name: fmt.Sprintf("chaos.probe.%d", n), Who: chaostest.Steady, Backend: "direct"}
	return c.post(p, "/v1/chat/completions", chat("short", `"max_tokens":10`))
}

// concurrent lets the key that most requests bore run two at once, and runs two:
// requests that have ended must not count.
func (c *chaos) concurrent() {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	id, limit := c.ids[chaostest.Steady], 2
	if err := c.keys.SetBudget(ctx, budget.Limit{Owner: budget.Owner{Kind: budget.Key, ID: id}, Period: budget.Total, Unit: budget.Tokens, Hard: 1_000_000_000}); err != nil {
		c.fail("set a budget: %v", err)
	}
	if _, err := c.keys.Update(ctx, id, apikey.Update{ConcurrentRequests: &limit}); err != nil {
		c.fail("limit a key: %v", err)
	}
	<-time.After(500 * time.Millisecond) // until the service has seen it
	for range limit {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/v1/chat/completions",
			strings.NewReader(chat("long [[tokens=2000 interval=10ms]]", `"stream":true`)))
		if err != nil {
			panic(err)
		}
		request.Header.Set("X-Api-Key", c.keyOf(chaostest.Steady))
		request.Header.Set("X-Claude-Backend", "direct")
		request.Header.Set("X-Request-ID", "chaos.probe.long")
		response, err := c.client.Do(request)
		if err != nil {
			c.fail("%v", err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			c.fail("requests that have ended count as running: status %d", response.StatusCode)
		}
	}
	if a := c.probe(1); a.status != http.StatusTooManyRequests {
		c.fail("a third request at once isn't refused: %s", a)
	}
	limit = 10 * chaosCallers
	if _, err := c.keys.Update(ctx, id, apikey.Update{ConcurrentRequests: &limit}); err != nil {
		c.fail("limit a key: %v", err)
	}
	<-time.After(500 * time.Millisecond) // until the service has seen it
}

func medianOf(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

package clipool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/gateway"
)

// TestManyCallersByChance has callers of several projects do all that callers
// do, on workers that die: each is answered, with its own words, and at the end
// every worker is accounted for.
func TestManyCallersByChance(t *testing.T) {
	clearing := parking
	clearing.Emptying, clearing.ChangeSystem = claudecli.EmptyByClear, false
	for seed, test := range []struct {
		name     string
		features claudecli.Features
		change   func(*clipool.Options)
	}{
		{"same project", parking, func(*clipool.Options) {}},
		{"always, one worker", parking, func(o *clipool.Options) { o.Workers, o.Reuse = 1, clipool.ReuseAlways }},
		{"never", parking, func(o *clipool.Options) { o.Reuse = clipool.ReuseNever }},
		{"by /clear, a process for each system prompt", clearing, func(*clipool.Options) {}},
		{"all in a hurry", parking, func(o *clipool.Options) {
			o.HoldFor, o.ParkFor, o.SpareAfter, o.Patience, o.MaxTurns = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond, 5
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newUnstartedPool(t, func(o *clipool.Options) {
				o.Workers, o.Starting, o.QueuePerWorker, o.InspectEvery = 3, 2, 1_000, 2*time.Millisecond
				o.MaxTurns, o.Patience, o.SpareAfter = 40, 20*time.Millisecond, 30*time.Millisecond
				o.Price = price
				test.change(o)
			})
			p.Start(test.features)
			var wg sync.WaitGroup
			for n := range 10 {
				wg.Go(func() {
					c := &chanceCaller{p: p, name: fmt.Sprintf("caller%d", n), project: fmt.Sprint("p", n%3), random: rand.New(rand.NewPCG(uint64(seed), uint64(n)))}
					for range 12 {
						c.once(t)
					}
				})
			}
			wg.Wait()
			deadline := time.Now().Add(20 * time.Second)
			for wrong := p.Account(); wrong != ""; wrong = p.Account() {
				if time.Now().After(deadline) {
					t.Fatal(wrong)
				}
				time.Sleep(time.Millisecond)
			}
			p.Close()
			if s := p.Status(); s.Idle+s.Held+s.Parked+s.Busy+s.Starting+s.Queued != 0 {
				t.Errorf("after the end: %+v", s)
			}
		})
	}
}

// chanceCaller does by chance what callers do.
type chanceCaller struct {
	p             *clipool.Pool
	name, project string
	random        *rand.Rand
	n             int
}

func (c *chanceCaller) chat(tools string) *toolChat {
	return &toolChat{p: c.p, project: c.project, key: c.name, tools: tools, stream: c.random.IntN(2) == 0}
}

func (c *chanceCaller) once(t *testing.T) {
	c.n++
	word := fmt.Sprintf("%s-%d", c.name, c.n)
	mine := func(what, answer string) {
		if !strings.Contains(answer, word) || strings.Count(answer, "caller") > strings.Count(answer, c.name) {
			t.Errorf("%s of %s got %s", what, word, answer)
		}
	}
	switch c.random.IntN(9) {
	case 0:
		mine("a plain request", said(c.chat("[]").send(t, fmt.Sprintf("%q", word))))
	case 1: // a conversation
		chat := c.chat("[]")
		for range 3 {
			mine("a conversation", said(chat.send(t, fmt.Sprintf("%q", word))))
		}
	case 2: // tools, two calls after each other
		chat := c.chat(strings.ReplaceAll(clock, "get_time", "get_"+word))
		ids := chat.calls(t, fmt.Sprintf("[[tool=get_%s]]", word))
		ids = idsOf(t, chat.results(t, ids, fmt.Sprintf("[[tool=get_%s]]", word)))
		mine("tools", said(chat.results(t, ids, word)))
		mine("what follows tools", said(chat.send(t, fmt.Sprintf("%q", word))))
	case 3: // calls whose results never come
		c.chat(clock).calls(t, "[[tool=get_time]]")
	case 4: // leaves in the middle, or before the beginning
		ctx, leave := context.WithCancel(t.Context())
		if c.random.IntN(2) == 0 {
			time.AfterFunc(time.Duration(c.random.IntN(10_000))*time.Microsecond, leave)
		}
		_, err := c.p.Generate(ctx, c.call(t, "[]", `{"role":"user","content":"[[hang]]"}`), &collector{onEvent: func() error { leave(); return nil }})
		leave()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who left got %v", err)
		}
	case 5: // leaves in Resume, or while the turn parks
		chat := c.chat(clock)
		ids := chat.calls(t, "[[tool=get_time]]")
		ctx, leave := context.WithCancel(t.Context())
		body := fmt.Sprintf(`{"role":"user","content":"[[tool=get_time]]"},{"role":"assistant","content":%s},{"role":"user","content":[{"type":"tool_result","tool_use_id":%q,"content":"[[hang]]"}]}`, chat.turns[1].Content, ids[0])
		time.AfterFunc(time.Duration(c.random.IntN(5_000))*time.Microsecond, leave)
		if _, err := c.p.Generate(ctx, c.call(t, clock, body), &collector{}); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who left in Resume got %v", err)
		}
		leave()
	case 6: // an upstream that refuses, at once or behind a call
		chat := c.chat(clock)
		body := `{"role":"user","content":"[[error=529]]"}`
		if c.random.IntN(2) == 0 {
			ids := chat.calls(t, "[[tool=get_time]]")
			body = fmt.Sprintf(`{"role":"user","content":"[[tool=get_time]]"},{"role":"assistant","content":%s},{"role":"user","content":[{"type":"tool_result","tool_use_id":%q,"content":"[[error=529]]"}]}`, chat.turns[1].Content, ids[0])
		}
		_, err := c.p.Generate(t.Context(), c.call(t, clock, body), &collector{})
		if e := apierror.From(err); err == nil || e.Category != apierror.Overloaded {
			t.Errorf("a refusal became %v", err)
		}
	case 7: // a process that dies in the middle
		_, err := c.p.Generate(t.Context(), c.call(t, "[]", `{"role":"user","content":"[[die]]"}`), &collector{})
		if e := apierror.From(err); err == nil || e.Category != apierror.CLIError {
			t.Errorf("a death became %v", err)
		}
	default:
		c.p.KillOneAtRest(c.random)
	}
}

func (c *chanceCaller) call(t *testing.T, tools, turns string) *gateway.Call {
	t.Helper()
	call := newCall(t, c.project, fmt.Sprintf(`{"model":"haiku","max_tokens":200,"stream":true,"tools":%s,"messages":[%s]}`, tools, turns))
	call.Caller.KeyID = c.name
	return call
}

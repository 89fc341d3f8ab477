// Package chaostest is what `make chaos` throws at the service: an upstream and a
// CLI that misbehave on demand, and plans that say who asks for what and what goes
// wrong meanwhile. Everything follows from a seed: the nth request of a caller,
// and the nth process of the CLI, are the same in every run with it. Only tests
// import the package.
package chaostest

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Route is a way to ask the service.
type Route string

// The routes.
const (
	Chat        Route = "chat"
	Messages    Route = "messages"
	Responses   Route = "responses"
	Process     Route = "process"
	Async       Route = "async"
	Batch       Route = "batch"
	Socket      Route = "socket"
	Once        Route = "once" // twice under one Idempotency-Key
	CountTokens Route = "count_tokens"
	Models      Route = "models"
	Usage       Route = "usage"
)

// routes says how often each is taken. The order is part of what a seed means.
var routes = []choice[Route]{
	{Chat, 5}, {Messages, 5}, {Responses, 4}, {Process, 4}, {Async, 2}, {Batch, 1}, {Socket, 3}, {Once, 2}, {CountTokens, 1}, {Models, 1}, {Usage, 1},
}

// Fault is what the upstream does to a request; "" is nothing.
type Fault string

// The faults of the upstream.
const (
	ResetBefore Fault = "reset-before" // the connection is reset before the answer's header
	ResetHeader Fault = "reset-header" // and right behind it
	ResetBody   Fault = "reset-body"   // and in the middle of the body
	Silent      Fault = "silent"       // the connection stays open, and nothing comes
	Stalled     Fault = "stalled"      // nothing more comes in the middle of the body
	SlowBody    Fault = "slow-body"    // a byte a second
	SlowStart   Fault = "slow-start"   // the first byte comes late, but in time
	Garbage     Fault = "garbage"      // the body is neither JSON nor events
	BadEvent    Fault = "bad-event"    // an event in the middle isn't JSON
	Truncated   Fault = "truncated"    // the body ends in the middle, as if it were whole
	ErrorEvent  Fault = "error-event"  // an error event in the middle
	Duplicate   Fault = "duplicate"    // every event comes twice
	Storm       Fault = "storm"        // 429
	StormAfter  Fault = "storm-after"  // 429 with Retry-After
	Internal    Fault = "internal"     // 500
	Overloaded  Fault = "overloaded"   // 529
	Large       Fault = "large"        // an event of 1 MiB
	Huge        Fault = "huge"         // an event beyond all bounds
)

var faults = []choice[Fault]{
	{"", 40}, {ResetBefore, 2}, {ResetHeader, 2}, {ResetBody, 3}, {Silent, 1}, {Stalled, 1}, {SlowBody, 2}, {SlowStart, 2}, {Garbage, 2}, {BadEvent, 2},
	{Truncated, 3}, {ErrorEvent, 3}, {Duplicate, 1}, {Storm, 2}, {StormAfter, 1}, {Internal, 2}, {Overloaded, 2}, {Large, 1}, {Huge, 1},
}

// CLIFault is what the CLI's process does when a prompt asks for it; "" is
// nothing.
type CLIFault string

// The faults of the CLI that a prompt asks for.
const (
	DiePrompt   CLIFault = "die-prompt"   // it dies when it reads the prompt
	DieStream   CLIFault = "die-stream"   // and in the middle of the answer
	DieResult   CLIFault = "die-result"   // and behind the answer, before its result
	DieRewind   CLIFault = "die-rewind"   // and when it is emptied
	StuckRewind CLIFault = "stuck-rewind" // it never says that it is emptied
	StuckTurn   CLIFault = "stuck-turn"   // it says nothing more in the middle of the answer
	GarbageLine CLIFault = "garbage-line" // a line that isn't JSON stands in the answer
	Flood       CLIFault = "flood"        // a MiB on standard error
	Grandchild  CLIFault = "grandchild"   // it dies and leaves a process that holds its standard output
)

var cliFaults = []choice[CLIFault]{
	{"", 40}, {DiePrompt, 2}, {DieStream, 3}, {DieResult, 2}, {DieRewind, 2}, {StuckRewind, 1}, {StuckTurn, 1}, {GarbageLine, 2}, {Flood, 2}, {Grandchild, 1},
}

// Start is what a process of the CLI does before it serves; "" is nothing.
type Start string

// The faults of a start.
const (
	DieAtOnce     Start = "die"            // before it reads anything
	DieVersion    Start = "die-version"    // when it is asked for its version
	DieInitialize Start = "die-initialize" // when it is initialized
	DieWarm       Start = "die-warm"       // when it is warmed
	DieBind       Start = "die-bind"       // when it is given a request's settings
	RefuseBind    Start = "refuse-bind"    // it refuses them
	StuckBind     Start = "stuck-bind"     // it never answers to them
	SlowToStart   Start = "slow"           // half a second passes first
	Deaf          Start = "deaf"           // it ignores SIGTERM and the end of its input
)

var starts = []choice[Start]{
	{"", 24}, {DieAtOnce, 1}, {DieVersion, 1}, {DieInitialize, 1}, {DieWarm, 1}, {DieBind, 1}, {RefuseBind, 1}, {StuckBind, 1}, {SlowToStart, 2}, {Deaf, 2},
}

// Who says whose key a request bears.
type Who string

// The keys.
const (
	Steady  Who = "steady"  // nothing happens to it
	Poor    Who = "poor"    // its budget runs out
	Rotated Who = "rotated" // it is rotated, and revoked, in the middle
)

var whose = []choice[Who]{{Steady, 10}, {Poor, 1}, {Rotated, 1}}

// Plan is one request and what goes wrong with it.
type Plan struct {
	Name    string // as X-Request-ID
	Nonce   string // in its prompt, and in no other's answer
	Route   Route
	Stream  bool
	Backend string // "cli" or "direct"
	Fault   Fault
	CLI     CLIFault
	Who     Who
	// Leave is after how long the caller leaves; 0: never.
	Leave time.Duration
	// Slow says that the caller reads slowly.
	Slow bool
}

// Prompt is what the model is asked, with what the upstream and the CLI read in it.
func (p *Plan) Prompt() string {
	text := p.Nonce + " says one two three four five six seven"
	if p.Fault != "" {
		text += " [[chaos=" + string(p.Fault) + "]]"
	}
	if p.CLI != "" {
		text += " [[cli=" + string(p.CLI) + "]]"
	}
	return text
}

// Harmed says that something goes wrong on purpose with the request, so that its
// answer may be an error.
func (p *Plan) Harmed() bool {
	return p.Fault != "" && p.Fault != SlowStart || p.CLI != "" && p.CLI != Flood
}

// NewPlan gives the nth request of a caller.
func NewPlan(seed uint64, caller, n int) Plan {
	r := rand.New(rand.NewPCG(seed, uint64(caller)<<32|uint64(n))) //nolint:gosec // a schedule, no secret
	p := Plan{
		Name: fmt.Sprintf("chaos.%d.%d", caller, n), Nonce: fmt.Sprintf("nonce-%016x", r.Uint64()),
		Route: pick(r, routes), Stream: r.IntN(2) == 0, Backend: "direct", Who: pick(r, whose),
	}
	onCLI, fault, cliFault := r.IntN(3) == 0, pick(r, faults), pick(r, cliFaults)
	leaves, after, slow := r.IntN(8) == 0, time.Duration(r.Int64N(int64(1500*time.Millisecond))), r.IntN(16) == 0
	if onCLI {
		p.Backend = "cli"
		if r.IntN(2) == 0 {
			p.CLI = cliFault
		}
	}
	if p.CLI == "" {
		p.Fault = fault
	}
	if leaves {
		p.Leave = after + time.Millisecond
	}
	p.Stream = p.Stream && (p.Route == Chat || p.Route == Messages || p.Route == Responses || p.Route == Process || p.Route == Once)
	if (p.Route == Async || p.Route == Once) && (p.Fault == SlowBody || p.Fault == Silent) {
		p.Fault = Truncated // those go on without their caller
	}
	// An answer in one piece may take minutes to begin, and one that comes byte by byte
	// is one that goes on: nobody but its caller ends it.
	if p.Leave == 0 && (p.Fault == SlowBody || p.Fault == Silent && p.Backend == "direct" && !p.Stream && p.Route != Socket) {
		p.Leave = after + 2500*time.Millisecond
	}
	p.Slow = slow && p.Stream && p.Fault != Large && p.Fault != Huge // those would take minutes
	return p
}

// NewStart gives what the nth process of the CLI does before it serves.
func NewStart(seed uint64, n int) Start {
	return pick(rand.New(rand.NewPCG(seed, 1<<63|uint64(n))), starts) //nolint:gosec // a schedule, no secret
}

type choice[T any] struct {
	value  T
	weight int
}

func pick[T any](r *rand.Rand, among []choice[T]) T {
	sum := 0
	for _, c := range among {
		sum += c.weight
	}
	n := r.IntN(sum)
	for _, c := range among {
		if n -= c.weight; n < 0 {
			return c.value
		}
	}
	panic("unreachable")
}

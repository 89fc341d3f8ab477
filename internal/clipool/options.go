package clipool

import (
	"log/slog"
	"runtime"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/message"
)

// Reuse says what requests one worker may serve in turn.
type Reuse string

// The values of pool.reuse.
const (
	ReuseNever       Reuse = "never"        // one request a process
	ReuseSameProject Reuse = "same-project" // those of one project; the default
	ReuseAlways      Reuse = "always"       // any
)

// Defaults of Options.
const (
	DefaultWorkers        = 5
	DefaultQueuePerWorker = 10
	// DefaultMaxTurns recycles a worker: memory growth is known in the field. A
	// new process costs 0.67 CPU-seconds, so this is 1 ms a request.
	DefaultMaxTurns = 500
	DefaultMaxAge   = time.Hour
	// DefaultMaxResidentBytes is four times what a parked worker uses.
	DefaultMaxResidentBytes = 1 << 30
	// DefaultSpareAfter is how long a worker of one project idles before it is
	// replaced by one that any project can take, when there is no such one.
	DefaultSpareAfter = 30 * time.Second
	// DefaultPatience is how long the head of the queue lets requests of other
	// classes pass before a worker is replaced for it.
	DefaultPatience = 2 * time.Second
	// DefaultInspectEvery is how often idle workers are looked at.
	DefaultInspectEvery = 5 * time.Second
	// DefaultHoldFor is how long a worker holds a conversation that is at rest.
	DefaultHoldFor = 5 * time.Minute
	// DefaultParkFor is how long a worker waits for the results of tool calls.
	DefaultParkFor = 15 * time.Minute
	// DefaultQueueTimeout is how long a request may wait for a worker.
	DefaultQueueTimeout = time.Minute
	// DefaultHeartbeatEvery is how long an idle worker isn't heard of before it is
	// asked for a sign of life.
	DefaultHeartbeatEvery = 30 * time.Second
	// DefaultShrinkAfter is how long a worker idles before a pool that has grown does
	// without it. Those used last are used again first, so what the last minutes'
	// highest load needed is kept.
	DefaultShrinkAfter = 5 * time.Minute
)

const (
	minBackoff   = 250 * time.Millisecond
	maxBackoff   = 30 * time.Second
	emptyTimeout = 10 * time.Second
)

// Options configure a Pool.
type Options struct {
	Workers int // the most processes at once
	// MinWorkers are kept started whatever comes; more are started when requests
	// wait, up to Workers. By default as many as Workers.
	MinWorkers     int
	QueuePerWorker int // how many requests may wait, for each of Workers
	// QueueTimeout is how long a request may wait for a worker; negative: as long as
	// its caller does.
	QueueTimeout time.Duration
	Reuse        Reuse
	// Starting is how many processes may start at once: eight at once took
	// 2.1-3.2 s each on two cores. By default half the cores, at least one.
	Starting         int
	MaxTurns         int
	MaxAge           time.Duration
	MaxResidentBytes int64
	SpareAfter       time.Duration
	Patience         time.Duration
	InspectEvery     time.Duration
	HeartbeatEvery   time.Duration
	ShrinkAfter      time.Duration
	// Memory tells how many bytes the machine has left for further processes; false
	// where that can't be told. By default what the kernel says.
	Memory func() (int64, bool)
	// HoldFor is how long a worker holds a conversation after its answer, for the
	// same key to go on with; negative: not at all. ParkFor is the same for one that
	// waits for the results of tool calls. Either ends sooner when others need the
	// worker; then the conversation is replayed.
	HoldFor, ParkFor time.Duration
	// Price gives the cost of the answer to a request that arrived at a moment, in
	// millionths of a US dollar, for those of which the CLI doesn't say it: it adds up
	// a turn only at its end. May be nil.
	Price func(model string, at time.Time, u message.Usage) (microUSD int64, ok bool)
	// Rules say what a model takes of a request. May be nil: nothing is known.
	Rules func(model string) message.Rules
	// Trace has the upstream told of the spans that are kept: see claudecli.Settings.
	Trace bool
	// Process is how each worker is started. Features come with Start.
	Process claudecli.Options
	Logger  *slog.Logger
}

func (o *Options) setDefaults() {
	set := func(to *int, value int) {
		if *to <= 0 {
			*to = value
		}
	}
	set(&o.Workers, DefaultWorkers)
	set(&o.MinWorkers, o.Workers)
	o.MinWorkers = min(o.MinWorkers, o.Workers)
	set(&o.QueuePerWorker, DefaultQueuePerWorker)
	set(&o.Starting, max(1, runtime.NumCPU()/2))
	set(&o.MaxTurns, DefaultMaxTurns)
	if o.Reuse == "" {
		o.Reuse = ReuseSameProject
	}
	last := func(to *time.Duration, value time.Duration) {
		if *to <= 0 {
			*to = value
		}
	}
	last(&o.MaxAge, DefaultMaxAge)
	last(&o.SpareAfter, DefaultSpareAfter)
	last(&o.Patience, DefaultPatience)
	last(&o.InspectEvery, DefaultInspectEvery)
	last(&o.HeartbeatEvery, DefaultHeartbeatEvery)
	last(&o.ShrinkAfter, DefaultShrinkAfter)
	last(&o.ParkFor, DefaultParkFor)
	if o.MaxResidentBytes <= 0 {
		o.MaxResidentBytes = DefaultMaxResidentBytes
	}
	if o.HoldFor == 0 {
		o.HoldFor = DefaultHoldFor
	}
	if o.QueueTimeout == 0 {
		o.QueueTimeout = DefaultQueueTimeout
	}
	if o.Memory == nil {
		o.Memory = FreeMemory
	}
	if o.Rules == nil {
		o.Rules = func(string) message.Rules { return message.Rules{} }
	}
	if o.Price == nil {
		o.Price = func(string, time.Time, message.Usage) (int64, bool) { return 0, false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Process.Logger == nil {
		o.Process.Logger = o.Logger
	}
}

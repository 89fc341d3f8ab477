package simulator

import (
	"crypto/rand"
	"encoding/hex"
	"hash/maphash"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/pricing"
)

// Options are the settings of a Simulator. The zero value is ready to use: it
// answers at once and keeps no bodies.
type Options struct {
	// KeepBodies is how many of the latest requests Requests gives back; 0
	// keeps none.
	KeepBodies int
	// EchoBytes is how much of the prompt the echo holds at most; 0 means 200.
	EchoBytes int
	// MaxInFlight is how many requests are served at once; more are answered
	// with 529. 0 means 4,096.
	MaxInFlight int
	// Delay, Interval and Tokens are what the directives delay, interval and
	// tokens are where a request doesn't give them.
	Delay    time.Duration
	Interval time.Duration
	Tokens   int
}

const (
	defaultEchoBytes   = 200
	defaultMaxInFlight = 4096
	// maxBody is the Messages API's own limit on a request.
	maxBody = 32 << 20
	// cachePrefixes and failedPrompts bound what is remembered of former
	// requests; the oldest is forgotten first.
	cachePrefixes = 10_000
	failedPrompts = 1_000
	// keepScratch is the most memory that one request leaves to a later one.
	keepScratch = 2 << 20
)

// Simulator is the imitated API. It is an http.Handler, safe for concurrent
// use. Start serves it on a socket of its own.
type Simulator struct {
	options Options
	nonce   string // makes ids differ between simulators
	ids     atomic.Uint64
	seed    maphash.Seed
	models  *pricing.Catalogue // for their rules
	scratch sync.Pool          // of *scratch

	limits rateLimits
	record recorder
	memory memory
	server server
}

// New makes a simulator.
func New(options Options) *Simulator {
	if options.EchoBytes <= 0 {
		options.EchoBytes = defaultEchoBytes
	}
	if options.MaxInFlight <= 0 {
		options.MaxInFlight = defaultMaxInFlight
	}
	models, err := pricing.New(pricing.Options{})
	if err != nil {
		panic(err) // the data is built in, and tested
	}
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	s := &Simulator{
		options: options,
		nonce:   hex.EncodeToString(random[:]),
		seed:    maphash.MakeSeed(),
		models:  models,
		limits:  newRateLimits(),
		memory:  newMemory(),
	}
	s.record.keep = options.KeepBodies
	s.scratch.New = func() any { return newScratch() }
	return s
}

// id makes an identifier in the API's form: a prefix such as "msg_" and 24
// characters.
func (s *Simulator) id(prefix string) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 32)
	b = append(b, prefix...)
	b = append(b, "01"...)
	b = append(b, s.nonce...)
	n := s.ids.Add(1)
	for shift := 44; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return string(b)
}

// ServeHTTP answers one request of the API, or GET /simulator/stats.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/simulator/") {
		s.serveStats(w, r)
		return
	}
	place := placeOf(r.URL.Path)
	inFlight := s.record.begin(place)
	defer s.record.end()

	sc := s.scratch.Get().(*scratch)
	sc.reset()
	x := &exchange{s: s, w: w, r: r, scratch: sc, requestID: s.id("req_")}
	x.serve(place, inFlight)
	// Not deferred: a connection cut on purpose is a panic, and drops it.
	if cap(sc.body)+cap(sc.arena)+cap(sc.text) <= keepScratch {
		s.scratch.Put(sc)
	}
}

// place is an endpoint, as Stats counts them.
type place int

const (
	placeRoot place = iota
	placeMessages
	placeCountTokens
	placeModels
	placeModel
	placeOther
	places
)

func (p place) String() string {
	switch p {
	case placeRoot:
		return "/"
	case placeMessages:
		return "/v1/messages"
	case placeCountTokens:
		return "/v1/messages/count_tokens"
	case placeModels:
		return "/v1/models"
	case placeModel:
		return "/v1/models/{id}"
	}
	return "other"
}

func placeOf(path string) place {
	switch path {
	case "/":
		return placeRoot
	case "/v1/messages":
		return placeMessages
	case "/v1/messages/count_tokens":
		return placeCountTokens
	case "/v1/models", "/v1/models/":
		return placeModels
	}
	if strings.HasPrefix(path, "/v1/models/") {
		return placeModel
	}
	return placeOther
}

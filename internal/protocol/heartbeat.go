package protocol

import (
	"context"
	"time"

	"claude-code-api-service/internal/gateway"
)

// heartbeatPause is how long a stream is silent before a heartbeat: common proxies
// cut connections on which nothing has come for 30 to 60 seconds.
const heartbeatPause = 15 * time.Second

// comment is a heartbeat: a line that every reader of event streams passes over.
const comment = ": keep-alive\n\n"

// heartbeat is what a Stream needs to show that it lives while its upstream thinks
// or the request waits for a worker.
type heartbeat struct {
	timer *time.Timer
	quiet bool
	early bool // the header left before the answer began
	// known is what was known of the call when the heart began to beat. The call
	// itself belongs to the goroutine that serves it.
	known gateway.Call
	gone  context.CancelCauseFunc
}

// Watch makes heartbeats follow once the call is admitted and routed, so that what
// refuses it before has a status of its own; after it, what fails a call that has
// been silent for heartbeatPause travels inside the stream. The context ends when a
// heartbeat can't be delivered. stop must be called, and may be more than once: when it has returned, no
// heartbeat is being written.
func (s *Stream) Watch(ctx context.Context, call *gateway.Call) (watched context.Context, stop func()) {
	watched, s.gone = context.WithCancelCause(ctx)
	admitted := call.Admitted
	call.Admitted = func() error {
		if admitted != nil {
			if err := admitted(); err != nil {
				return err
			}
		}
		s.arm(call)
		return nil
	}
	return watched, func() {
		s.beQuiet()
		s.gone(nil)
	}
}

func (s *Stream) arm(call *gateway.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil || s.quiet {
		return
	}
	known := &s.known
	known.RequestID, known.Backend, known.Model = call.RequestID, call.Backend, call.Model
	known.Limits, known.Clock = call.Limits, call.Clock
	known.Warnings = call.Warnings[:len(call.Warnings):len(call.Warnings)]
	s.last = time.Now()
	s.timer = time.AfterFunc(heartbeatPause, s.beat)
}

// beat is the timer's. It is set anew here and not with each event.
func (s *Stream) beat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet {
		return
	}
	// What was written and not flushed may have to be kept first.
	if left := heartbeatPause - time.Since(s.last); left > 0 || s.pending {
		s.timer.Reset(max(left, time.Second))
		return
	}
	if !s.started {
		s.early = true
		s.start(&s.known, earlyTrailer)
	}
	_, err := s.w.Write([]byte(comment))
	if err == nil {
		err = s.control.Flush()
	}
	if err != nil {
		s.gone(writeError(err))
		return
	}
	s.last = time.Now()
	s.timer.Reset(heartbeatPause)
}

// beQuiet ends the heartbeats: when it has returned, none is being written.
func (s *Stream) beQuiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

package protocol_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// silentAnswer is a call whose backend is silent for as long as the test sleeps.
func silentAnswer(t *testing.T) (*gateway.Call, *protocol.Stream, *httptest.ResponseRecorder, context.Context, func()) {
	t.Helper()
	w := httptest.NewRecorder()
	s := protocol.NewStream(w, protocol.SetHeader)
	call := &gateway.Call{Backend: "direct", Warnings: []string{"a"}}
	ctx, stop := s.Watch(t.Context(), call)
	if err := call.Admitted(); err != nil {
		t.Fatal(err)
	}
	return call, s, w, ctx, stop
}

func TestHeartbeatsWhileTheUpstreamIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call, s, w, _, stop := silentAnswer(t)
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if s.Started() {
			t.Fatal("started before 15 s of silence: an error has no status any more")
		}
		time.Sleep(17 * time.Second)
		synctest.Wait()
		if !s.Started() || w.Body.String() != ": keep-alive\n\n: keep-alive\n\n" || !w.Flushed {
			t.Fatalf("after 31 s: %q", w.Body)
		}
		call.Warn("b")
		s.Start(call) // too late: the header has left
		if err := s.Write([]byte("data: 1\n\n")); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if got := strings.Count(w.Body.String(), "keep-alive"); got != 2 {
			t.Errorf("%d heartbeats beside an event", got)
		}
		if err := s.Close(call); err != nil {
			t.Fatal(err)
		}
		stop()
		time.Sleep(time.Hour)
		if got := w.Body.String(); !strings.HasSuffix(got, "data: 1\n\n") {
			t.Errorf("after the end: %q", got)
		}
		response := w.Result()
		if got := response.Header.Get("X-Claude-Backend"); got != "direct" {
			t.Errorf("backend %q", got)
		}
		if got := response.Trailer.Get("X-Claude-Warnings"); got != "a; b" {
			t.Errorf("what is warned of later: %q", got)
		}
	})
}

// What was written and not flushed has to be kept before it leaves.
func TestNoHeartbeatBehindWhatIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call, s, w, _, stop := silentAnswer(t)
		defer stop()
		s.Start(call)
		if err := s.Write([]byte("data: 1\n\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.Body.String() != "data: 1\n\n" || w.Flushed {
			t.Errorf("%q, flushed: %v", w.Body, w.Flushed)
		}
	})
}

func TestNoHeartbeatAfterAnEarlyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, w, _, stop := silentAnswer(t)
		stop() // the call was refused, or failed before its first event
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.Started() || w.Body.Len() > 0 {
			t.Errorf("started: %v, %q", s.Started(), w.Body)
		}
	})
}

// broken is a caller who is gone.
type broken struct{ *httptest.ResponseRecorder }

func (broken) Write([]byte) (int, error) { return 0, http.ErrHandlerTimeout }

func TestHeartbeatFindsThatTheCallerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := protocol.NewStream(broken{httptest.NewRecorder()}, protocol.SetHeader)
		call := &gateway.Call{}
		ctx, stop := s.Watch(t.Context(), call)
		defer stop()
		if err := call.Admitted(); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		var e *apierror.Error
		if !errors.As(context.Cause(ctx), &e) || e.Category != apierror.ClientClosed {
			t.Errorf("the call ended with %v", context.Cause(ctx))
		}
	})
}

// A hook that the call had before goes first.
func TestWatchKeepsTheCallsHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := protocol.NewStream(httptest.NewRecorder(), protocol.SetHeader)
		failure := errors.New("no")
		call := &gateway.Call{Admitted: func() error { return failure }}
		_, stop := s.Watch(t.Context(), call)
		defer stop()
		if err := call.Admitted(); !errors.Is(err, failure) {
			t.Errorf("err = %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.Started() {
			t.Error("a refused call has heartbeats")
		}
	})
}

// Heartbeats and events don't meet.
func TestHeartbeatsBesideEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call, s, w, _, stop := silentAnswer(t)
		s.Start(call)
		var group sync.WaitGroup
		group.Go(func() {
			for range 20 {
				time.Sleep(15 * time.Second) // just when a heartbeat is due
				if err := errors.Join(s.Write([]byte("data: 1\n\n")), s.Flush()); err != nil {
					t.Error(err)
				}
			}
		})
		group.Wait()
		stop()
		for frame := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
			if frame != "data: 1" && frame != ": keep-alive" {
				t.Errorf("frame %q", frame)
			}
		}
	})
}

// buggy is an encoder that panics at the end.
type buggy struct{ s *protocol.Stream }

func (b buggy) Stream() *protocol.Stream { return b.s }
func (buggy) Event(message.Event) error  { return nil }
func (buggy) Flush() error               { return nil }
func (buggy) Message([]byte) error       { return nil }
func (buggy) End(gateway.Result) error   { panic("a bug") }
func (b buggy) Started() bool            { return b.s.Started() }
func (buggy) Fail(*apierror.Error)       {}

// Behind the end of its handler nobody may write an answer.
func TestNoHeartbeatAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		s := protocol.NewStream(w, protocol.SetHeader)
		g := new(protocoltest.Rooms).Gateway()
		call, err := g.Open(t.Context(), "id", "/v1/x", protocoltest.Key, "")
		if err != nil {
			t.Fatal(err)
		}
		if call.Request, err = message.ParseRequest([]byte(`{"model":"haiku","stream":true,"messages":[]}`)); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = protocol.Serve(t.Context(), g, call, buggy{s}, nil)
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.Body.Len() > 0 {
			t.Errorf("written: %q", w.Body)
		}
	})
}

package claudecli_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
)

func TestAProcessThatStopsReading(t *testing.T) {
	p := ready(t, startFake(t, func(o *claudecli.Options) { o.IdleTimeout = 50 * time.Millisecond }))
	if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = 'x'
	}
	_, err := p.Turn(t.Context(), jsontext.Value(`"`+string(large)+`"`), claudecli.Handler{})
	if e := apierror.From(err); e == nil || e.Category != apierror.CLIError {
		t.Errorf("err = %v", err)
	}
	if err := p.Empty(t.Context()); err == nil {
		t.Error("a process that holds half a line was emptied")
	}
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"claude-code-api-service/client"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, clitest.IgnoreSpawner()) }

// patience bounds every wait for one thing.
const patience = 60 * time.Second

// within gives a context that ends with the test or with patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// stand is a service whose upstream is the simulator, and a client with a key that may
// do everything.
type stand struct {
	*client.Client
	app *app.App
	own string // the client's key
}

// newStand starts it, on the CLI at a path or without one ("off").
func newStand(t *testing.T, cli string, flags ...string) *stand {
	t.Helper()
	s, imitation := &stand{}, simulator.New(simulator.Options{})
	upstream, err := imitation.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(imitation.Close)
	if s.app, err = app.New(t.Context(), settings(t, upstream, append(flags, "--claude-path="+cli)), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.app.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := s.app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.own = s.key(t, apikey.Create{Profile: "enterprise"})
	s.Client = s.as(t, s.own)
	ctx := within(t)
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		ready, err := s.Ready(ctx)
		if err == nil && ready.Ready {
			tick.Stop()
			return s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the service isn't ready: %+v %v", ready, err)
		}
	}
}

// key makes a key without a limit of requests, unless the wish has one.
func (s *stand) key(t *testing.T, wish apikey.Create) string {
	t.Helper()
	if wish.RequestsPerMinute == nil {
		wish.RequestsPerMinute = new(int)
	}
	if wish.ProjectID == "" && !wish.Admin {
		wish.ProjectID = "p"
	}
	text, _, err := s.app.Keys().Create(t.Context(), wish)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// as gives a client with another key.
func (s *stand) as(t *testing.T, key string) *client.Client {
	t.Helper()
	return clientOf(t, client.Options{URL: s.app.URL(), Key: key, Retries: -1})
}

func clientOf(t *testing.T, options client.Options) *client.Client {
	t.Helper()
	c, err := client.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// settings are the service's defaults and what the test needs besides. The machine's own
// variables don't count.
func settings(t *testing.T, upstream string, flags []string) *config.Config {
	t.Helper()
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		t.Setenv(name, "") // so that it comes back
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	var c config.Config
	parser, err := kong.New(&c, kong.Vars{"data_dir": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(append([]string{"--listen=127.0.0.1:0", "--max-workers=2", "--min-workers=1", "--task-spares=0", "--sdk-max-retries=0"}, flags...)); err != nil {
		t.Fatal(err)
	}
	c.Anthropic = config.Anthropic{BaseURL: upstream, APIKey: "sk-ant-planted-0123456789"}
	return &c
}

// refused checks that an error is the service's, of a status and a code.
func refused(t *testing.T, err error, status int, code string) {
	t.Helper()
	_ = refusal(t, err, status, code)
}

// refusal is refused that gives the error.
func refusal(t *testing.T, err error, status int, code string) *client.Error {
	t.Helper()
	e := asError[*client.Error](t, err)
	if e.Status != status || e.Code != code || e.Message == "" {
		t.Errorf("%+v, want %d %s", e, status, code)
	}
	return e
}

func asError[E error](t *testing.T, err error) E {
	t.Helper()
	var own E
	if !errors.As(err, &own) {
		t.Fatalf("%T: %v", err, err)
	}
	return own
}

// echo is what the simulator answers to a prompt.
func echo(prompt string) string { return "Echo: " + prompt }

// cutter is a transport that cuts the body of an answer after so many bytes, once for each
// number that it was given.
type cutter struct {
	http.RoundTripper
	after chan int
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.RoundTripper.RoundTrip(r)
	if err != nil || !strings.Contains(r.URL.Path, "/events") {
		return response, err
	}
	select {
	case n := <-c.after:
		response.Body = &cutBody{response.Body, n}
	default:
	}
	return response, nil
}

type cutBody struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	left int
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("the cable was cut")
	}
	n, err := b.body.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *cutBody) Close() error { return b.body.Close() }

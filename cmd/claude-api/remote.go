package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
)

// keyVariable holds the key, which is in no argument: those can be seen by others.
const keyVariable = "CLAUDE_API_KEY"

// remote is a running service: tasks live there, and belong to a key.
type remote struct {
	URL     string `name:"url" help:"The service's address." default:"http://127.0.0.1:8006" env:"CLAUDE_API_URL"`
	KeyFile string `help:"File with the key, as keys provision writes it; without it, the variable CLAUDE_API_KEY holds the key."`
}

func (r *remote) key() (string, error) {
	if r.KeyFile != "" {
		text, err := os.ReadFile(r.KeyFile)
		return strings.TrimSpace(string(text)), err
	}
	if key := os.Getenv(keyVariable); key != "" {
		return key, nil
	}
	return "", errors.New("a key is needed: set " + keyVariable + ", or name its file with --key-file")
}

// do asks the service. The body is the caller's to close; an error is also what the
// service refuses.
func (r *remote) do(ctx context.Context, method, path string) (io.ReadCloser, error) {
	key, err := r.key()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(r.URL, "/")+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Api-Key", key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode < http.StatusMultipleChoices {
		return response.Body, nil
	}
	defer func() { _ = response.Body.Close() }()
	var refused struct {
		Detail string `json:"detail"`
	}
	if err := json.UnmarshalRead(io.LimitReader(response.Body, 1<<20), &refused); err != nil || refused.Detail == "" {
		return nil, fmt.Errorf("the service answers %s", response.Status)
	}
	return nil, errors.New(refused.Detail)
}

func (r *remote) read(ctx context.Context, method, path string, into any) error {
	body, err := r.do(ctx, method, path)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if err := json.UnmarshalRead(body, into); err != nil {
		return fmt.Errorf("read the service's answer: %w", err)
	}
	return nil
}

func untilInterrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// Package benchmark measures the service from outside, interleaved in one run
// with what bounds it: a bare warm CLI process, a process per request, the
// upstream itself. Everything stays on loopback.
package benchmark

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// Service is a running service to measure.
type Service struct {
	URL, Key string
	client   *http.Client
}

// NewService makes one. Its connections are kept alive.
func NewService(url, key string) *Service {
	return &Service{URL: url, Key: key, client: newClient()}
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, DisableCompression: true}}
}

// Reply is what one request showed.
type Reply struct {
	Status int
	Took   time.Duration
	Stages map[string]time.Duration // from Server-Timing
	Body   []byte
}

// serial makes every prompt differ, so that no cache can help.
var serial atomic.Int64

// Prompt gives a prompt that wasn't used before in this process.
func Prompt(directive string) string {
	return fmt.Sprintf("Say hello to number %d. %s", serial.Add(1), directive)
}

type chat struct {
	Model     string        `json:"model"`
	MaxTokens int           `json:"max_tokens"`
	Messages  []chatMessage `json:"messages"`
	Stream    bool          `json:"stream,omitzero"`
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Chat sends one plain chat completion to the backend ("cli" or "direct").
func (s *Service) Chat(ctx context.Context, backend, prompt string) (*Reply, error) {
	return s.ask(ctx, backend, maxTokens, prompt)
}

// maxTokens is what answers are limited to, unless they must differ.
const maxTokens = 200

func (s *Service) ask(ctx context.Context, backend string, tokens int, prompt string) (*Reply, error) {
	body, err := json.Marshal(chat{Model: "haiku", MaxTokens: tokens, Messages: []chatMessage{{"user", prompt}}})
	if err != nil {
		return nil, err
	}
	header := http.Header{"Authorization": {"Bearer " + s.Key}, "X-Claude-Backend": {backend}, "Content-Type": {"application/json"}}
	return send(ctx, s.client, http.MethodPost, s.URL+"/v1/chat/completions", header, body)
}

// Get fetches a path without a key.
func (s *Service) Get(ctx context.Context, path string) (*Reply, error) {
	return send(ctx, s.client, http.MethodGet, s.URL+path, nil, nil)
}

// Ready waits until the service says that it is ready.
func (s *Service) Ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	reason := "it doesn't answer"
	for {
		if reply, err := s.Get(ctx, "/ready"); err == nil {
			if reply.Status == http.StatusOK {
				return nil
			}
			reason = string(reply.Body)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the service isn't ready: %s: %w", reason, ctx.Err())
		case <-tick.C:
		}
	}
}

func send(ctx context.Context, client *http.Client, method, url string, header http.Header, body []byte) (*Reply, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	started := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	took := time.Since(started)
	if err != nil {
		return nil, err
	}
	return &Reply{Status: response.StatusCode, Took: took, Stages: stages(response.Header.Get("Server-Timing")), Body: data}, nil
}

// must turns an answer other than 200 into an error.
func must(reply *Reply, err error) (time.Duration, error) {
	if err != nil {
		return 0, err
	}
	if reply.Status != http.StatusOK {
		return 0, fmt.Errorf("status %d: %.300s", reply.Status, reply.Body)
	}
	return reply.Took, nil
}

// stages reads a Server-Timing header.
func stages(header string) map[string]time.Duration {
	found := map[string]time.Duration{}
	for part := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), ";dur=")
		if ms, err := strconv.ParseFloat(value, 64); ok && err == nil {
			found[name] = time.Duration(ms * float64(time.Millisecond))
		}
	}
	return found
}

// together runs callers at once, each calling do again and again until the time
// is over, and counts the calls that succeeded.
func together(ctx context.Context, callers int, length time.Duration, do func(ctx context.Context) error) (done int64, took time.Duration, err error) {
	var count atomic.Int64
	started := time.Now()
	errs := make(chan error, callers)
	for range callers {
		go func() {
			for time.Since(started) < length && ctx.Err() == nil {
				if err := do(ctx); err != nil {
					errs <- err
					return
				}
				count.Add(1)
			}
			errs <- nil
		}()
	}
	var all []error
	for range callers {
		all = append(all, <-errs)
	}
	return count.Load(), time.Since(started), errors.Join(all...)
}

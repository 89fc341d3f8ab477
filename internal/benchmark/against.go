package benchmark

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// The shapes in which a service is asked.
const (
	ShapeOpenAI    = "openai"    // POST /v1/chat/completions
	ShapeAnthropic = "anthropic" // POST /v1/messages
)

// Target is a service that is asked for answers: one of these, or any that speaks one
// of the two shapes.
type Target struct {
	URL   string
	Key   string // in no error and in no record
	Shape string
	Model string
	// Backend is what X-Claude-Backend says: "cli", "direct", or "" for whatever the
	// service chooses.
	Backend string
}

// CompareOptions say what is compared with what.
type CompareOptions struct {
	Service Target
	Against *Target        // nil: the service alone is measured
	Rounds  int            // in each of which either side is asked once
	Round   func(done int) // called as rounds end
}

// The bounds of what is asked of services that may cost money.
const (
	// MaxRounds is the most rounds of a comparison.
	MaxRounds = 1_000
	// compareTokens is the most that each answer may have.
	compareTokens = 16
	// compareTimeout is the most that one answer may take.
	compareTimeout = 2 * time.Minute
	// compareFailures in a row end a run: the service doesn't want to be asked.
	compareFailures = 3
	// maxErrorBody is how much of a refusal is read.
	maxErrorBody = 4 << 10
)

// Side is what one service showed. Failed counts requests that got no answer; they
// are in no figure.
type Side struct {
	URL     string             `json:"url"`
	Shape   string             `json:"shape"`
	Model   string             `json:"model"`
	Backend string             `json:"backend,omitempty"`
	First   Figures            `json:"first_token"` // from the request to the first piece of text
	Total   Figures            `json:"total"`       // to the stream's end
	Stages  map[string]Figures `json:"stages,omitempty"`
	Failed  int                `json:"failed"`
}

// Compare is what one service showed, or two in turn.
type Compare struct {
	Service Side  `json:"service"`
	Against *Side `json:"against,omitempty"`
	// First and Total are how many times as long the other one took.
	First *Ratio `json:"first_token_ratio,omitempty"`
	Total *Ratio `json:"total_ratio,omitempty"`
}

// streamed is one streamed answer.
type streamed struct {
	first, total time.Duration
	stages       map[string]time.Duration
}

// target asks one service.
type target struct {
	Target
	client      *http.Client
	first       Samples
	total       Samples
	stages      map[string]Samples
	failed, row int // failures, and how many of them in a row
}

func newTarget(t Target) (*target, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		// The text isn't repeated: it may hold a key.
		return nil, errors.New("a service's URL must be http://host or https://host, without a user and without a question mark")
	}
	t.URL = strings.TrimSuffix(strings.TrimSuffix(u.String(), "/"), "/v1")
	client := newClient()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the key is for this host
	return &target{Target: t, client: client, stages: map[string]Samples{}}, nil
}

// RunCompare asks one or two services for short streamed answers, one request at a
// time, the sides in turn and in changing order. It asks nothing that it wasn't
// given, and no more than two requests a round and one of each side before.
func RunCompare(ctx context.Context, o CompareOptions) (*Compare, error) {
	if o.Rounds < 1 || o.Rounds > MaxRounds {
		return nil, fmt.Errorf("rounds must be between 1 and %d", MaxRounds)
	}
	service, err := newTarget(o.Service)
	if err != nil {
		return nil, err
	}
	sides := []*target{service}
	if o.Against != nil {
		other, err := newTarget(*o.Against)
		if err != nil {
			return nil, err
		}
		sides = append(sides, other)
	}
	for _, side := range sides {
		defer side.client.CloseIdleConnections()
		// It opens the connection, and isn't counted.
		if _, err := side.ask(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", side.URL, err)
		}
	}
	for i := range o.Rounds {
		o.Round(i)
		if err := round(ctx, sides, i); err != nil {
			return nil, err
		}
	}
	c := &Compare{Service: service.side()}
	if len(sides) == 2 {
		other := sides[1].side()
		first, total := ratioOf(service.first, sides[1].first), ratioOf(service.total, sides[1].total)
		c.Against, c.First, c.Total = &other, &first, &total
	}
	return c, nil
}

// round asks every side once. Only rounds in which all answered are counted, so that
// each sample of one side has one of the other.
func round(ctx context.Context, sides []*target, number int) error {
	answers := make([]*streamed, len(sides))
	whole := true
	for j := range sides {
		at := (j + number) % len(sides)
		side := sides[at]
		answer, err := side.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			whole = false
			side.failed++
			if side.row++; side.row == compareFailures {
				return fmt.Errorf("%s: %d requests in a row failed, the last with: %w", side.URL, compareFailures, err)
			}
		default:
			side.row, answers[at] = 0, answer
		}
	}
	if !whole {
		return nil
	}
	for j, side := range sides {
		side.first, side.total = append(side.first, answers[j].first), append(side.total, answers[j].total)
		for name, took := range answers[j].stages {
			side.stages[name] = append(side.stages[name], took)
		}
	}
	return nil
}

func (t *target) side() Side {
	s := Side{
		URL: t.URL, Shape: t.Shape, Model: t.Model, Backend: t.Backend,
		First: t.first.Figures(), Total: t.total.Figures(), Failed: t.failed,
	}
	for name, samples := range t.stages {
		if s.Stages == nil {
			s.Stages = map[string]Figures{}
		}
		s.Stages[name] = samples.Figures()
	}
	return s
}

func (t *target) request(ctx context.Context) (*http.Request, error) {
	body, err := json.Marshal(chat{Model: t.Model, MaxTokens: compareTokens, Messages: []chatMessage{{"user", Prompt("")}}, Stream: true})
	if err != nil {
		return nil, err
	}
	path := "/v1/chat/completions"
	if t.Shape == ShapeAnthropic {
		path = "/v1/messages"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if t.Shape == ShapeAnthropic {
		request.Header.Set("Anthropic-Version", "2023-06-01")
		request.Header.Set("X-Api-Key", t.Key)
	} else {
		request.Header.Set("Authorization", "Bearer "+t.Key)
	}
	if t.Backend != "" {
		request.Header.Set("X-Claude-Backend", t.Backend)
	}
	return request, nil
}

// ask has one answer streamed and reads it to its end.
func (t *target) ask(ctx context.Context) (*streamed, error) {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	request, err := t.request(ctx)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	response, err := t.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBody)) // what there is
		return nil, fmt.Errorf("it answers %s: %.300s", response.Status, text)
	}
	answer := &streamed{}
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadSlice('\n')
		if answer.first == 0 && hasText(line) {
			answer.first = time.Since(started)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
	answer.total = time.Since(started)
	if answer.first == 0 {
		return nil, errors.New("its answer had no text")
	}
	answer.stages = stages(response.Header.Get("Server-Timing") + "," + response.Trailer.Get("Server-Timing"))
	return answer, nil
}

// hasText says whether a line of a stream, of either shape, holds a piece of the
// answer's text.
func hasText(line []byte) bool {
	data, found := bytes.CutPrefix(line, []byte("data:"))
	if !found {
		return false
	}
	var event struct {
		Delta struct {
			Text string `json:"text"`
		} `json:"delta"`
		Choices []struct {
			Delta struct {
				Content string `json:"content"`
			} `json:"delta"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(data), &event); err != nil {
		return false // [DONE], or a line longer than any piece of text
	}
	if len(event.Choices) > 0 && event.Choices[0].Delta.Content != "" {
		return true
	}
	return event.Delta.Text != ""
}

// Print writes what the services showed.
func (c *Compare) Print(w io.Writer) {
	sides := []*Side{&c.Service}
	if c.Against != nil {
		sides = append(sides, c.Against)
	}
	rows := [][]string{{"SERVICE", "FIRST p50", "p95", "TOTAL p50", "p95", "COUNT", "FAILED"}}
	for _, s := range sides {
		rows = append(rows, []string{
			s.URL, cell(s.First.P50), cell(s.First.P95), cell(s.Total.P50), cell(s.Total.P95), fmt.Sprint(s.Total.Count), fmt.Sprint(s.Failed),
		})
	}
	fmt.Fprintf(w, "\nStreamed answers of at most %d tokens, one caller, in ms\n", compareTokens)
	grid(w, rows)
	if c.Against != nil {
		fmt.Fprintf(w, "\n  %s takes %.2f times as long to the first token (p10–p90 of the rounds %.2f–%.2f), and %.2f times in all (%.2f–%.2f).\n",
			c.Against.URL, c.First.Medians, c.First.P10, c.First.P90, c.Total.Medians, c.Total.P10, c.Total.P90)
	}
	for _, s := range sides {
		if len(s.Stages) > 0 {
			fmt.Fprintf(w, "\n  Stages of %s, medians in ms:%s\n", s.URL, s.stageText())
		}
	}
}

func (s *Side) stageText() string {
	var text strings.Builder
	for _, name := range []string{"auth", "decode", "admit", "queue", "bind", "first_byte", "generate", "record", "total"} {
		if f, known := s.Stages[name]; known {
			fmt.Fprintf(&text, " %s %s", name, cell(f.P50))
		}
	}
	return text.String()
}

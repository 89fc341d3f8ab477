package chaostest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// turn is a prompt that is being answered.
type turn struct {
	*cli
	fault  CLIFault
	cancel context.CancelFunc
	ended  chan struct{}

	id, model string
	text      strings.Builder
	events    int
	stopped   bool // message_stop has come
}

// stop ends a turn that runs, and waits for its result; t may be nil.
func (t *turn) stop() {
	if t != nil {
		t.cancel()
		<-t.ended
	}
}

func (t *turn) run(ctx context.Context) {
	defer close(t.ended)
	status, err := t.ask(ctx)
	if t.text.Len() > 0 {
		content := jsontext.Value(`[{"type":"text","text":` + quoted(t.text.String()) + `}]`)
		t.add(said{Role: "assistant", Content: content})
	}
	switch {
	case ctx.Err() != nil:
		t.result(true, 0, "interrupted")
	case err != nil:
		t.result(true, status, "API Error: "+err.Error())
	default:
		if t.fault == DieResult {
			die("before the result")
		}
		t.result(false, 0, t.text.String())
	}
}

// body is what the upstream is sent: the conversation, and the extra body over it.
func (t *turn) body() (address string, body []byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const ownMaxTokens = 8192
	most, err := strconv.ParseInt(t.env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"], 10, 64)
	if err != nil {
		most = ownMaxTokens
	}
	t.model = t.cli.model
	whole := map[string]any{"model": t.model, "max_tokens": most, "stream": true, "messages": t.messages}
	if t.system != "" {
		whole["system"] = t.system
	}
	if extra := t.env["CLAUDE_CODE_EXTRA_BODY"]; extra != "" {
		var more map[string]jsontext.Value
		if err := json.Unmarshal([]byte(extra), &more); err != nil {
			return "", nil, err
		}
		for name, value := range more {
			whole[name] = value
		}
	}
	address, set := t.env["ANTHROPIC_BASE_URL"]
	if !set {
		address = os.Getenv("ANTHROPIC_BASE_URL")
	}
	body, err = json.Marshal(whole)
	return address, body, err
}

// ask makes one call of the upstream and passes its events on. An error has the
// upstream's status, if it gave one.
func (t *turn) ask(ctx context.Context) (status int, err error) {
	address, body, err := t.body()
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("X-Api-Key", os.Getenv("ANTHROPIC_API_KEY"))
	request.Header.Set("Anthropic-Version", "2023-06-01")
	request.Header.Set("User-Agent", "claude-cli/0.0.1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("Unable to connect to API (ECONNREFUSED): %w", err) //nolint:staticcheck // the CLI's own words
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		said, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		if err != nil {
			return response.StatusCode, err
		}
		return response.StatusCode, fmt.Errorf("%d %s", response.StatusCode, said)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() && !t.stopped {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if err := t.event(ctx, data); err != nil {
			return 0, err
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !t.stopped {
		return 0, fmt.Errorf("Connection error: the stream ended early") //nolint:staticcheck // the CLI's own words
	}
	return 0, nil
}

// usage is what events tell of it.
type usage struct {
	Input  int64 `json:"input_tokens"`
	Output int64 `json:"output_tokens"`
	Read   int64 `json:"cache_read_input_tokens"`
	Wrote  int64 `json:"cache_creation_input_tokens"`
}

func (t *turn) event(ctx context.Context, data []byte) error {
	var e struct {
		Type    string `json:"type"`
		Message struct {
			ID    string `json:"id"`
			Usage usage  `json:"usage"`
		} `json:"message"`
		Delta struct {
			Text string `json:"text"`
		} `json:"delta"`
		Usage usage `json:"usage"`
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("an event that isn't JSON: %w", err)
	}
	switch e.Type {
	case "error":
		return fmt.Errorf("Connection error: %s", e.Error.Message) //nolint:staticcheck // the CLI's own words
	case "message_start":
		t.id = e.Message.ID
		e.Message.Usage.Output = 0 // what stands there is no count yet
		t.count(e.Message.Usage)
	case "content_block_delta":
		t.text.WriteString(e.Delta.Text)
	case "content_block_stop":
		t.put(`{"type":"assistant","session_id":"s","message":{"id":%s,"type":"message","role":"assistant","model":%s,"content":[{"type":"text","text":%s}]}}`,
			quoted(t.id), quoted(t.model), quoted(t.text.String()))
	case "message_delta":
		t.count(usage{Output: e.Usage.Output})
	case "message_stop":
		t.stopped = true
	}
	t.put(`{"type":"stream_event","session_id":"s","event":%s}`, data)
	t.events++
	const middle = 4
	if t.events == middle {
		t.misbehave(ctx)
	}
	return nil
}

// count adds to the account.
func (t *turn) count(u usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := t.total[t.model]
	if total == nil {
		total = &spent{}
		t.total[t.model] = total
	}
	total.Input += u.Input
	total.Read += u.Read
	total.Wrote += u.Wrote
	total.Output += u.Output
}

// misbehave does in the middle of an answer what was asked for.
func (t *turn) misbehave(ctx context.Context) {
	switch t.fault {
	case DieStream:
		die("in the middle")
	case Grandchild:
		leaveGrandchild()
	case GarbageLine:
		t.put("this is no JSON {[")
	case StuckTurn:
		<-ctx.Done()
	}
}

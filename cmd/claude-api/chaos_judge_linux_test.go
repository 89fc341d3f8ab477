package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"claude-code-api-service/internal/chaostest"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// ending is what a request came to.
type ending string

const (
	gotWhole   ending = "whole"   // a complete answer
	gotRefused ending = "refused" // a clean error
	gotLeft    ending = "left"    // its caller left before the end
	gotBroken  ending = "broken"  // anything else: that is what the test looks for
)

var noncePattern = regexp.MustCompile(`nonce-[0-9a-f]{16}`)

// judge looks at every exchange, and at the ledger beside them.
func (c *chaos) judge() {
	for _, e := range c.exchanges {
		why := ""
		e.verdict, why = e.judge()
		if e.verdict == gotBroken {
			c.fail("%s: %s", why, e)
		}
		for _, nonce := range noncePattern.FindAllString(e.text+"\n"+string(e.body), -1) {
			if owner, issued := c.nonces[nonce]; issued && nonce != e.plan.Nonce {
				c.fail("words of %s are in the answer to %s", owner, e)
			}
		}
		unrecorded := e.category() == "internal" || strings.Contains(e.category(), "couldn't be recorded")
		if e.verdict == gotRefused && unrecorded && !c.diskWasFull(e.took) {
			c.fail("an internal error though the disk wasn't full: %s", e)
		}
	}
	c.judgeLedger()
}

func (c *chaos) diskWasFull(when span) bool { return slices.ContainsFunc(c.full, when.overlaps) }

// judge says what one exchange came to, and why where it is broken.
func (e *exchange) judge() (ending, string) {
	switch {
	case e.hung:
		return gotBroken, "it hangs"
	case e.left:
		return gotLeft, ""
	case e.err != nil:
		return gotBroken, "the connection broke"
	case e.plan.Route == chaostest.Socket && e.message.Type != "":
		return e.judgeSocket()
	case e.status == http.StatusAccepted:
		return gotWhole, "" // nobody asked for more
	case e.status != http.StatusOK:
		return e.judgeEnvelope(e.body)
	case strings.HasPrefix(e.header.Get("Content-Type"), "text/event-stream"):
		return e.judgeStream()
	}
	if !json.Valid(e.body) {
		return gotBroken, "the body isn't JSON"
	}
	switch e.plan.Route {
	case chaostest.CountTokens, chaostest.Models, chaostest.Usage:
		return gotWhole, ""
	case chaostest.Async:
		var state run
		if json.Unmarshal(e.body, &state) == nil && state.Status == "failed" {
			return gotRefused, ""
		}
	case chaostest.Batch:
		return e.judgeBatch()
	}
	e.text = string(e.body)
	return e.own()
}

// own looks for the request's own words in a whole answer.
func (e *exchange) own() (ending, string) {
	if e.plan.Fault == chaostest.Duplicate {
		return gotWhole, "" // they may have come between each other
	}
	if !strings.Contains(e.text, e.plan.Nonce) {
		return gotBroken, "the answer isn't the request's"
	}
	return gotWhole, ""
}

// judgeEnvelope wants an error answer as its family has it.
func (e *exchange) judgeEnvelope(body []byte) (ending, string) {
	var got envelope
	if err := json.Unmarshal(body, &got); err != nil || got.Error.Message == "" || got.Error.Type == "" {
		return gotBroken, "the error isn't in an envelope"
	}
	if e.status < 400 {
		return gotBroken, "an error with a good status"
	}
	anthropics := e.path == "/v1/messages" || e.path == "/v1/messages/count_tokens"
	old := e.path == "/v1/process" || e.path == "/v1/batch" || e.path == "/v1/usage"
	switch {
	case e.header.Get("X-Error-Category") == "" || e.header.Get("X-Request-ID") == "":
		return gotBroken, "the error has no category or no id"
	case anthropics && (got.Type != "error" || got.RequestID == ""), old && got.Detail == "":
		return gotBroken, "the error isn't in its family's envelope"
	case (e.status == http.StatusTooManyRequests || e.status == http.StatusServiceUnavailable) && e.header.Get("Retry-After") == "" && e.header.Get("X-Should-Retry") != "false":
		return gotBroken, "the error says neither when to come again nor not to"
	}
	return gotRefused, ""
}

// judgeStream wants the end that the family's streams have, whole or failed.
func (e *exchange) judgeStream() (ending, string) {
	// On the direct path the Messages API's events pass as they are.
	passesUnread := e.plan.Fault == chaostest.BadEvent && e.plan.Route == chaostest.Messages && e.plan.Backend == "direct"
	last := ""
	var text strings.Builder
	for frame := range bytes.SplitSeq(e.body, []byte("\n\n")) {
		for line := range bytes.Lines(frame) {
			data, ok := bytes.CutPrefix(bytes.TrimRight(line, "\n"), []byte("data: "))
			if !ok {
				continue
			}
			if string(data) == "[DONE]" && last != "error" && last != "end" {
				last = "end"
				continue
			}
			var event map[string]any
			if err := json.Unmarshal(data, &event); err != nil && !passesUnread {
				return gotBroken, "an event isn't JSON"
			}
			kind, _ := event["type"].(string)
			if last == "end" || last == "error" && kind != "response.failed" {
				return gotBroken, "something comes behind the end"
			}
			switch {
			case event["error"] != nil && event["error"] != (any)(nil), kind == "response.failed":
				last = "error"
			case kind == "message_stop", kind == "done", kind == "response.completed", kind == "response.incomplete":
				last = "end"
			default:
				last = kind
			}
			collect(&text, event)
		}
	}
	e.text = text.String()
	switch last {
	case "end":
		return e.own()
	case "error":
		return gotRefused, ""
	}
	return gotBroken, "the stream ends without an end"
}

// collect puts together the pieces of text in an event of any family.
func collect(into *strings.Builder, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range []string{"text", "content", "delta"} {
			if text, ok := v[name].(string); ok {
				into.WriteString(text)
			}
		}
		for name, inner := range v {
			if name != "response" && name != "item" && name != "part" {
				collect(into, inner)
			}
		}
	case []any:
		for _, inner := range v {
			collect(into, inner)
		}
	}
}

func (e *exchange) judgeSocket() (ending, string) {
	switch {
	case e.message.Type == "done":
		return e.own()
	case e.message.Error.Message == "" || e.message.Error.Code == "":
		return gotBroken, "the error says nothing"
	}
	return gotRefused, ""
}

func (e *exchange) judgeBatch() (ending, string) {
	var batch struct {
		Total, Completed, Failed int
		Results                  []struct{ Status, Content, Error string }
	}
	if err := json.Unmarshal(e.body, &batch); err != nil || batch.Total != 2 || len(batch.Results) != 2 || batch.Completed+batch.Failed != 2 {
		return gotBroken, "the batch doesn't add up"
	}
	for _, r := range batch.Results {
		if r.Status == "completed" && !strings.Contains(r.Content, e.plan.Nonce) && e.plan.Fault != chaostest.Duplicate || r.Status == "failed" && r.Error == "" {
			return gotBroken, "a result isn't its prompt's"
		}
	}
	if batch.Completed == 0 {
		return gotRefused, ""
	}
	return gotWhole, ""
}

// rowsWanted is how many rows in the ledger an exchange must have at least and at
// most, by the ids of the rows.
func (c *chaos) rowsWanted(e *exchange) map[string][2]int {
	exactly, atMost := [2]int{1, 1}, [2]int{0, 1}
	switch {
	case e.plan.Route == chaostest.Models || e.plan.Route == chaostest.Usage:
		return nil
	case e.plan.Route == chaostest.Batch:
		return map[string][2]int{e.id + "-1": atMost, e.id + "-2": atMost}
	case e.header.Get("Idempotent-Replayed") == "true":
		return map[string][2]int{e.id: {0, 0}}
	case e.verdict == gotWhole && e.status != http.StatusAccepted:
		return map[string][2]int{e.id: exactly}
	case e.verdict == gotRefused && !c.diskWasFull(e.took):
		switch e.category() {
		case "upstream_error", "connection_error", "cli_error", "timeout":
			return map[string][2]int{e.id: exactly}
		}
	}
	return map[string][2]int{e.id: atMost}
}

// judgeLedger holds the ledger against what was answered.
func (c *chaos) judgeLedger() {
	path := filepath.Join(c.data, "claude-api.db")
	if got := integrity(c.t, path); got != "ok" {
		c.fail("integrity_check: %s", got)
	}
	if off := outOfBalance(c.t, path); off != "" {
		c.fail("what was spent isn't what the ledger says: %s", off)
	}
	db, err := sqlite.Open(c.t.Context(), sqlite.Options{Path: path})
	if err != nil {
		c.fail("%v", err)
		return
	}
	defer func() { _ = db.Close() }()
	recorded := map[string][]usage.Row{}
	for _, r := range rows(c.t, db) {
		recorded[r.RequestID] = append(recorded[r.RequestID], r)
	}
	for _, e := range c.exchanges {
		for id, want := range c.rowsWanted(e) {
			got := recorded[id]
			delete(recorded, id)
			if len(got) < want[0] || len(got) > want[1] {
				c.fail("%d rows in the ledger, want %d to %d: %s", len(got), want[0], want[1], e)
			}
			for _, r := range got {
				if why := c.contradicts(e, &r); why != "" {
					c.fail("%s: the ledger has %d %s %+v: %s", why, r.Status, r.Category, r.Usage, e)
				}
			}
		}
	}
	for id, got := range recorded {
		if strings.HasPrefix(id, "chaos.") && !strings.HasPrefix(id, "chaos.probe") {
			c.fail("nobody asked for what the ledger has as %s: %+v", id, got)
		}
	}
}

// contradicts says how a row isn't what its caller got.
func (c *chaos) contradicts(e *exchange, r *usage.Row) string {
	// The upstream's own errors pass unchanged, and families differ in what a spent
	// budget is.
	passed := e.header.Get("X-Upstream-Status") != "" || r.Category == "budget_exceeded"
	switch {
	case r.Usage.InputTokens < 0 || r.Usage.OutputTokens < 0 || r.CostMicroUSD != nil && *r.CostMicroUSD < 0:
		return "less than nothing was used"
	case e.plan.Route == chaostest.Batch:
		return ""
	case e.verdict == gotWhole && e.status == http.StatusOK && r.Status != http.StatusOK:
		return "a whole answer is recorded as a failure"
	case e.verdict == gotRefused && r.Status == http.StatusOK && !c.diskWasFull(e.took): // what is kept for a later request may fail
		return "a failure is recorded as an answer"
	case e.verdict == gotRefused && e.plan.Route != chaostest.Async && e.status >= 400 && e.status != r.Status && !passed && !c.diskWasFull(e.took):
		return fmt.Sprintf("another status than the caller's %d", e.status)
	}
	return ""
}

package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"claude-code-api-service/internal/claudecli/install"
)

var updatePages = flag.Bool("update", false, "write the answers and the lists of parameters in docs/endpoints and docs/get-started.md anew")

// masks are what differs from run to run, and what the pages have instead.
var masks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b(req|msg|chatcmpl|resp|rs|fc|call|toolu|task|sess|batch|proc|process|key|file|evt|job|run|event)_[0-9A-Za-z]{8,}(-[0-9A-Z]{8})?`), "${1}_…"},
	{regexp.MustCompile(`\b(chatcmpl)-[0-9A-Za-z]{8,}`), "${1}-…"},
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "…"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "2026-11-29T10:00:00Z"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d\b`), "2026-11-29"},
	{regexp.MustCompile(`("(?:created|created_at|completed_at|updated_at|expires_at)":)\d{10}\b`), "${1}1796032800"},
	{regexp.MustCompile(`("(?:processing_time|uptime_seconds)":)[0-9.e-]+`), "${1}0.5"},
	{regexp.MustCompile(`("version":)"[^"]*"`), `${1}"0.1.0"`},
	{regexp.MustCompile(`;dur=[0-9.]+`), ";dur=0.1"},
	{regexp.MustCompile(`(?mi)^(date: ).*`), "${1}Sun, 29 Nov 2026 10:00:00 GMT"},
	{regexp.MustCompile(`(?mi)^(x-ratelimit-reset-requests: ).*`), "${1}1s"},
	{regexp.MustCompile(`(?mi)^(x-ratelimit-remaining-requests: ).*`), "${1}99"},
	{regexp.MustCompile(`http://127\.0\.0\.1:\d+`), "http://127.0.0.1:8006"},
	{regexp.MustCompile(`\r`), ""},
}

// usageMask hides what the CLI's own words cost: they name the machine's folders.
var usageMask = regexp.MustCompile(`("(?:input_tokens|output_tokens|prompt_tokens|completion_tokens|total_tokens|cache_read_input_tokens|cache_creation_input_tokens|cost_usd|cost)":)[0-9.e-]+`)

// answerOf is what a page shows of what a command has printed.
func answerOf(printed string, agentic bool) string {
	for _, m := range masks {
		printed = m.what.ReplaceAllString(printed, m.with)
	}
	if agentic {
		printed = usageMask.ReplaceAllString(printed, "${1}0")
	}
	values, err := readValues(printed)
	if err != nil || !strings.HasPrefix(strings.TrimSpace(printed), "{") {
		lines := strings.TrimRight(printed, "\n")
		if lines == "" {
			return ""
		}
		return "```text\n" + lines + "\n```"
	}
	var b strings.Builder
	b.WriteString("```json\n")
	for _, v := range values {
		v.show(&b, "", 0)
		b.WriteString("\n")
	}
	return b.String() + "```"
}

// TestEndpointPages runs every command of docs/endpoints and of docs/get-started.md
// (those of its blocks with "shell" excepted, which start services) against a service with the real
// CLI and the simulator, and holds the answers that the pages show, and their lists of
// parameters, against what the service says.
func TestEndpointPages(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(docs, "endpoints", "*.md"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	files = append(files, filepath.Join(docs, "get-started.md"))
	s := taskStand(t, install.Version, "CLAUDE_API_DEFAULT_USE_CLI=false", "--log-level=info")
	read, err := readValues(s.get(t, "/openapi.json").body)
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			name, err := filepath.Rel(docs, file)
			if err != nil {
				t.Fatal(err)
			}
			page, blocks := readDoc(t, filepath.ToSlash(name))
			// Each page has a project of its own, so that none sees what another has used.
			project := strings.TrimSuffix(filepath.Base(file), ".md")
			key := command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id="+project, "--profile=enterprise", "-q")
			agentic := project == "tasks" || project == "sessions"
			want := withReferences(t, withAnswers(t, page, blocks, environment(t, "URL="+s.url, "KEY="+key, "CLAUDE_API_DATA_DIR="+s.data), agentic), read[0], described)
			if want == page {
				return
			}
			if !*updatePages {
				t.Errorf("docs/%s isn't what the service answers; write it anew with: go test ./cmd/claude-api -run TestEndpointPages -update\n%s", name, firstDifference(page, want))
				return
			}
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
	paths := read[0].get("paths")
	for i, path := range paths.names {
		for j, method := range paths.members[i].names {
			if tag := paths.members[i].members[j].get("tags").members; len(tag) > 0 && tag[0].words() == "admin" {
				continue // docs/admin.md
			}
			if operation := strings.ToUpper(method) + " " + path; !described[operation] {
				t.Errorf("no page of docs/endpoints has %s", operation)
			}
		}
	}
}

// withAnswers puts behind each of a page's commands what it prints now.
func withAnswers(t *testing.T, page string, blocks []block, env []string, agentic bool) string {
	t.Helper()
	printed := runBlocks(t, env, shBlocks(blocks))
	var b strings.Builder
	at := 0
	for i, command := range blocks {
		if command.info != "sh" {
			continue
		}
		b.WriteString(page[at:command.end])
		at = command.end
		if i+1 < len(blocks) && blocks[i+1].info != "sh" && strings.TrimSpace(page[at:blocks[i+1].begin]) == "" {
			at = blocks[i+1].end
		}
		if answer := answerOf(printed[0], agentic); answer != "" {
			b.WriteString("\n\n" + answer)
		}
		printed = printed[1:]
	}
	return b.String() + page[at:]
}

// isReference is what a page has where the parameters and statuses of an operation are.
var isReference = regexp.MustCompile(`(?s)<!-- reference: ([A-Z]+) (\S+) -->\n.*?<!-- /reference -->`)

// withReferences writes what the OpenAPI document says where a page asks for it.
func withReferences(t *testing.T, page string, document *value, described map[string]bool) string {
	t.Helper()
	return isReference.ReplaceAllStringFunc(page, func(found string) string {
		names := isReference.FindStringSubmatch(found)
		text, known := reference(document, names[1], names[2])
		operation := names[1] + " " + names[2]
		if !known || described[operation] {
			t.Errorf("%s isn't served, or is described twice", operation)
		}
		described[operation] = true
		return "<!-- reference: " + operation + " -->\n\n" + text + "\n<!-- /reference -->"
	})
}

// firstDifference shows where two texts begin to differ.
func firstDifference(a, b string) string {
	was, is := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range was {
		if i >= len(is) || was[i] != is[i] {
			return "it has   " + was[i] + "\nit gives " + strings.Join(is[min(i, len(is)):min(i+1, len(is))], "")
		}
	}
	return "it gives " + is[len(was)]
}

func TestAnswerOf(t *testing.T) {
	for printed, want := range map[string]string{
		"":              "",
		"data: x\r\n\n": "```text\ndata: x\n```",
		`{"id":"msg_0123456789abcdef","created":1764000000,"created_at":"2026-01-02T03:04:05.6Z"}`: "```json\n{\"id\": \"msg_…\", \"created\": 1796032800, \"created_at\": \"2026-11-29T10:00:00Z\"}\n```",
		`{"usage":{"input_tokens":12}}`: "```json\n{\"usage\": {\"input_tokens\": 0}}\n```",
	} {
		if got := answerOf(printed, true); got != want {
			t.Errorf("%q gives %q, want %q", printed, got, want)
		}
	}
	if got := answerOf(`{"input_tokens":12}`, false); !strings.Contains(got, "12") {
		t.Error(got)
	}
}

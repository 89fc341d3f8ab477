package benchmark

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// cliEnvironment is that of a CLI that talks to the upstream and to nothing
// else, built from nothing.
func cliEnvironment(home, upstream string) []string {
	return []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + home, "TMPDIR=" + home,
		"ANTHROPIC_API_KEY=sk-simulator", "ANTHROPIC_BASE_URL=" + upstream,
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1",
		"DISABLE_TELEMETRY=1", "DISABLE_ERROR_REPORTING=1",
		"CLAUDE_CODE_MAX_RETRIES=0", "MAX_THINKING_TOKENS=0", "CLAUDE_CODE_DISABLE_THINKING=1",
	}
}

// CLIVersion asks a CLI which version it is.
func CLIVersion(ctx context.Context, cli string) (string, error) {
	home, err := os.MkdirTemp("", "claude-api-version-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd := exec.CommandContext(ctx, cli, "--version")
	// Nothing listens there: it has nobody to ask.
	cmd.Env, cmd.Dir, cmd.WaitDelay = cliEnvironment(home, "http://127.0.0.1:9"), home, time.Second
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask the CLI for its version: %w", err)
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(output)), " ")
	return version, nil
}

// Cold answers one prompt as the replaced service did: a shell starts a new CLI
// that reads its prompt from a file.
func Cold(ctx context.Context, cli, upstream, prompt string) (took time.Duration, err error) {
	home, err := os.MkdirTemp("", "claude-api-cold-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	file := filepath.Join(home, "prompt")
	if err := os.WriteFile(file, []byte(prompt), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", `exec "$1" -p "$(cat "$2")" --model haiku --output-format json </dev/null`, "bash", cli, file)
	cmd.Env = cliEnvironment(home, upstream)
	cmd.Dir = home
	cmd.WaitDelay = time.Second
	started := time.Now()
	output, err := cmd.Output()
	took = time.Since(started)
	if err != nil {
		return 0, fmt.Errorf("run the CLI cold: %w: %.500s", err, output)
	}
	var result struct {
		IsError bool   `json:"is_error"`
		Result  string `json:"result"`
	}
	if err := json.Unmarshal(output, &result); err != nil || result.IsError {
		return 0, fmt.Errorf("run the CLI cold: %.500s", output)
	}
	return took, nil
}

// Bare is one warm CLI process, driven with nothing between: the least that a
// turn can take.
type Bare struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Reader
	home  string
}

// StartBare starts one and waits until it answers.
func StartBare(ctx context.Context, cli, upstream string) (*Bare, error) {
	home, err := os.MkdirTemp("", "claude-api-bare-")
	if err != nil {
		return nil, err
	}
	b := &Bare{home: home}
	b.cmd = exec.CommandContext(ctx, cli, "-p", "--input-format=stream-json", "--output-format=stream-json",
		"--verbose", "--include-partial-messages", "--setting-sources=", "--strict-mcp-config", "--tools=",
		"--no-session-persistence", "--system-prompt=", "--model=haiku")
	b.cmd.Env = append(cliEnvironment(home, upstream), "CLAUDE_CODE_MAX_OUTPUT_TOKENS=200")
	b.cmd.Dir = home
	b.cmd.WaitDelay = time.Second
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.lines = bufio.NewReaderSize(stdout, 1<<20)
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a bare CLI: %w", err)
	}
	if err := b.exchange(`{"type":"control_request","request_id":"init","request":{"subtype":"initialize","systemPrompt":[]}}`, "control_response"); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Close ends the process.
func (b *Bare) Close() {
	_ = b.stdin.Close()
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	_ = os.RemoveAll(b.home)
}

// exchange writes a line and reads until a line of the type.
func (b *Bare) exchange(line, until string) error {
	if _, err := io.WriteString(b.stdin, line+"\n"); err != nil {
		return fmt.Errorf("write to the bare CLI: %w", err)
	}
	mark := []byte(`"type":"` + until + `"`)
	for {
		answer, err := b.lines.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read from the bare CLI: %w", err)
		}
		if !bytes.Contains(answer, mark) || bytes.Contains(answer, []byte(`"type":"stream_event"`)) {
			continue
		}
		if bytes.Contains(answer, []byte(`"is_error":true`)) || bytes.Contains(answer, []byte(`"subtype":"error"`)) {
			return fmt.Errorf("the bare CLI answered %.300s", answer)
		}
		return nil
	}
}

// Turn times one prompt from its writing to its result. The prompt is taken
// back afterwards, outside the time; with a CLI that can't, it stays.
func (b *Bare) Turn(prompt string) (time.Duration, error) {
	id := strings.ToLower(rand.Text())
	took, err := b.turn(id, prompt)
	if err != nil {
		return 0, err
	}
	return took, b.exchange(`{"type":"control_request","request_id":"`+id+`","request":{"subtype":"rewind_conversation","target_message_uuid":"`+id+`"}}`, "control_response")
}

// prompt times one prompt, which stays.
func (b *Bare) prompt(prompt string) (time.Duration, error) {
	return b.turn(strings.ToLower(rand.Text()), prompt)
}

func (b *Bare) turn(id, prompt string) (time.Duration, error) {
	quoted, err := json.Marshal(prompt)
	if err != nil {
		return 0, err
	}
	line := fmt.Sprintf(`{"type":"user","message":{"role":"user","content":%s},"uuid":"%s","parent_tool_use_id":null}`, quoted, id)
	started := time.Now()
	if err := b.exchange(line, "result"); err != nil {
		return 0, err
	}
	return time.Since(started), nil
}

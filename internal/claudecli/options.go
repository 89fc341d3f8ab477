// Package claudecli drives one process of the Claude Code CLI over its
// stream-json protocol: start it, bind it to a request, run a turn, empty it,
// end it. What it knows of the protocol was observed on the published CLI,
// versions 2.1.197 and 2.1.331, and is checked at start-up by Probe.
package claudecli

import (
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"claude-code-api-service/internal/confine"
)

// Defaults of Options.
const (
	// DefaultStartTimeout bounds the time from spawn to the first answer: eight
	// spawns at once took up to 3.2 s on two cores.
	DefaultStartTimeout = 15 * time.Second
	// AwayStartTimeout is the same without a BaseURL: 2.1.331 then asks
	// api.anthropic.com for its organization's policy first, and goes on without an
	// answer after 17 to 19 s. No setting leaves that out, and none should.
	AwayStartTimeout = 45 * time.Second
	// DefaultControlTimeout bounds one control request; they take 1 to 30 ms.
	DefaultControlTimeout = 5 * time.Second
	// DefaultIdleTimeout bounds the wait for the first byte of an answer and
	// between two (the old service's SDK_TIMEOUT_SECONDS).
	DefaultIdleTimeout = 60 * time.Second
)

// Options say how to start a process.
type Options struct {
	Path string // the CLI's binary
	// Root is the folder under which each process gets private folders for HOME,
	// TMPDIR and its working directory; they are removed when it ends.
	Root string
	// Home replaces the private HOME: a subscription login needs its own.
	Home string
	// BaseURL, APIKey and AuthToken are the CLI's upstream and credential, as the
	// Anthropic SDKs read them; empty ones aren't set.
	BaseURL, APIKey, AuthToken string
	// Env holds further NAME=VALUE pairs that the operator lets through.
	Env []string
	// Model is the model that the process starts with.
	Model string
	// Marker identifies the service instance in the process's environment: see
	// KillMarked.
	Marker         string
	Features       Features
	Confinement    confine.Confinement // the zero one is as much as the kernel gives
	StartTimeout   time.Duration
	ControlTimeout time.Duration
	IdleTimeout    time.Duration
	Logger         *slog.Logger
}

func (o *Options) setDefaults() {
	if o.StartTimeout <= 0 {
		o.StartTimeout = DefaultStartTimeout
		if o.BaseURL == "" {
			o.StartTimeout = AwayStartTimeout
		}
	}
	if o.ControlTimeout <= 0 {
		o.ControlTimeout = DefaultControlTimeout
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// secrets are the texts that no log may show: the credentials, and the values that
// the operator lets through.
func (o *Options) secrets() []string {
	secrets := []string{o.APIKey, o.AuthToken}
	for _, pair := range o.Env {
		_, value, _ := strings.Cut(pair, "=")
		secrets = append(secrets, value)
	}
	return secrets
}

// arguments are those of a lean worker: no tools but a client's, no settings files,
// no MCP servers but the one in this program, nothing written to disk, no system prompt but the request's. No
// argument comes from a request.
func (o *Options) arguments() []string {
	args := []string{
		"-p", "--input-format=stream-json", "--output-format=stream-json",
		"--verbose", "--include-partial-messages",
		"--setting-sources=", "--strict-mcp-config", "--tools=", "--no-session-persistence",
		"--system-prompt=",
	}
	if o.Features.ClientTools {
		args = append(args, "--allowedTools=mcp__"+toolServer)
	}
	if o.Model != "" {
		args = append(args, "--model="+o.Model)
	}
	return args
}

// environment is built from nothing. In particular it has no CLAUDECODE, which
// breaks nested runs, and thinking and retries are off: the service decides on
// both per request.
func (o *Options) environment(folder string) []string {
	home := o.Home
	if home == "" {
		home = filepath.Join(folder, "home")
	}
	env := append(o.machine(home, filepath.Join(folder, "tmp")),
		"CLAUDE_CODE_MAX_RETRIES=0",
		// Without this a prompt's @path is replaced by that file's content, whatever
		// tools are off: a caller could read the machine's files.
		"CLAUDE_CODE_DISABLE_ATTACHMENTS=1",
		// A conversation that is too long is an error here, not a summary of it.
		"DISABLE_COMPACT=1",
		"MAX_THINKING_TOKENS=0",
		// MAX_THINKING_TOKENS=0 leaves adaptive thinking on with the 5-5 models
		// (seen with 2.1.331); this leaves the thinking member out of the body.
		envDisableThinking+"=1",
	)
	if o.Features.ClientTools {
		env = append(env,
			// Tools are in the body from the start, not behind a search for them.
			"ENABLE_TOOL_SEARCH=false",
			// A client may take its time over a call: a day, in milliseconds. No call
			// goes on in the background meanwhile (2.1.331), or is given up for silence.
			"MCP_TOOL_TIMEOUT=86400000",
			"CLAUDE_CODE_MCP_AUTO_BACKGROUND_MS=0",
			"CLAUDE_CODE_MCP_TOOL_IDLE_TIMEOUT=0",
			// A result of 25,000 tokens and more would be cut.
			"MAX_MCP_OUTPUT_TOKENS=100000000",
		)
	}
	return append(env, o.upstreamVariables()...)
}

// machine is what every process of the CLI is told of where it runs.
func (o *Options) machine(home, temp string) []string {
	return []string{
		"PATH=/usr/local/bin:/usr/bin:/bin",
		"LANG=C.UTF-8",
		"HOME=" + home,
		"TMPDIR=" + temp,
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
		"DISABLE_AUTOUPDATER=1",
		"DISABLE_TELEMETRY=1",
		"DISABLE_ERROR_REPORTING=1",
		// A stream that breaks is an error here, not a second, plain request.
		"CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK=1",
		markerVariable + "=" + o.Marker,
	}
}

// upstreamVariables are the CLI's upstream and credential, and what the operator
// lets through, which wins.
func (o *Options) upstreamVariables() []string {
	var env []string
	for _, v := range [...]struct{ name, value string }{
		{envBaseURL, o.BaseURL}, {"ANTHROPIC_API_KEY", o.APIKey}, {"ANTHROPIC_AUTH_TOKEN", o.AuthToken},
	} {
		if v.value != "" {
			env = append(env, v.name+"="+v.value)
		}
	}
	return append(env, o.Env...)
}

package chaostest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ScriptsVariable is where the fake CLI finds the address at which it asks what to
// do at its start; without it, it has no faults.
const ScriptsVariable = "CHAOS_STARTS"

// cli imitates the Claude Code CLI as far as a lean worker without tools goes: it
// speaks the stream-json protocol, keeps a conversation, and asks its upstream, so
// that the service's probe takes it for one that is emptied by rewind_conversation.
// Prompts ask for faults with [[cli=FAULT]].
type cli struct {
	start Start
	// rewind is what happens when it is emptied next.
	rewind CLIFault
	turn   *turn // that runs, or the last one

	mu       sync.Mutex // guards what is below: a turn runs beside the control requests
	out      *bufio.Writer
	env      map[string]string
	system   string
	model    string
	messages []said
	total    map[string]*spent
}

// said is one message of the conversation.
type said struct {
	uuid    string         // of a user's
	Role    string         `json:"role"`
	Content jsontext.Value `json:"content"`
}

// spent is the CLI's account of a model.
type spent struct {
	Input  int64 `json:"inputTokens"`
	Output int64 `json:"outputTokens"`
	Read   int64 `json:"cacheReadInputTokens"`
	Wrote  int64 `json:"cacheCreationInputTokens"`
}

// RunCLI is the program. It never returns.
func RunCLI() {
	c := &cli{out: bufio.NewWriter(os.Stdout), env: map[string]string{}, total: map[string]*spent{}}
	for _, arg := range os.Args {
		if model, ok := strings.CutPrefix(arg, "--model="); ok {
			c.model = model
		}
	}
	c.start = askStart()
	switch c.start {
	case DieAtOnce:
		die("at once")
	case SlowToStart:
		time.Sleep(500 * time.Millisecond)
	case Deaf:
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var l input
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			die("a line that isn't JSON")
		}
		switch l.Type {
		case "control_request":
			c.control(&l)
		case "user":
			c.user(&l)
		case "assistant":
			c.add(said{Role: "assistant", Content: l.Message.Content})
		}
	}
	if c.start == Deaf {
		select {} // until it is killed
	}
	os.Exit(0)
}

// askStart asks for the fault of this start.
func askStart() Start {
	address := os.Getenv(ScriptsVariable)
	if address == "" {
		return ""
	}
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(address)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return ""
	}
	return Start(text)
}

// die ends the process at once, without what the race detector does at an exit.
func die(why string) {
	fmt.Fprintln(os.Stderr, "chaos: dies", why)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// input is a line of the service's.
type input struct {
	Type        string `json:"type"`
	UUID        string `json:"uuid"`
	ShouldQuery *bool  `json:"shouldQuery"`
	Message     struct {
		Content jsontext.Value `json:"content"`
	} `json:"message"`
	RequestID string `json:"request_id"`
	Request   struct {
		Subtype      string   `json:"subtype"`
		SystemPrompt []string `json:"systemPrompt"`
		NewSystem    string   `json:"system_prompt"`
		Model        string   `json:"model"`
		Target       string   `json:"target_message_uuid"`
		Settings     struct {
			Model string            `json:"model"`
			Env   map[string]string `json:"env"`
		} `json:"settings"`
	} `json:"request"`
}

// put writes a line.
func (c *cli) put(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.out, format+"\n", args...)
	if c.out.Flush() != nil {
		die("for want of a reader")
	}
}

func quoted(text string) string {
	b, err := jsontext.AppendQuote(nil, text)
	if err != nil {
		return `""`
	}
	return string(b)
}

func (c *cli) add(s said) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages = append(c.messages, s)
}

func (c *cli) control(l *input) {
	r, answer := &l.Request, "{}"
	switch r.Subtype {
	case "get_binary_version":
		c.diesIf(DieVersion)
		answer = `{"version":"0.0.1"}`
	case "initialize":
		c.diesIf(DieInitialize)
		c.set(strings.Join(r.SystemPrompt, "\n"), c.model, nil)
	case "set_model":
		c.set(r.NewSystem, r.Model, nil)
	case "apply_flag_settings":
		c.diesIf(DieBind)
		switch c.start {
		case StuckBind:
			return
		case RefuseBind:
			c.put(`{"type":"control_response","response":{"subtype":"error","request_id":%s,"error":"as planned"}}`, quoted(l.RequestID))
			return
		}
		c.set("", r.Settings.Model, r.Settings.Env)
	case "interrupt":
		c.turn.stop()
	case "rewind_conversation":
		switch c.rewind {
		case DieRewind:
			die("when it is emptied")
		case StuckRewind:
			return
		}
		c.turn.stop()
		answer = c.rewound(r.Target)
	}
	c.put(`{"type":"control_response","response":{"subtype":"success","request_id":%s,"response":%s}}`, quoted(l.RequestID), answer)
}

func (c *cli) diesIf(at Start) {
	if c.start == at {
		die("as " + string(at) + " says")
	}
}

func (c *cli) set(system, model string, env map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if system != "" {
		c.system = system
	}
	if model != "" {
		c.model = model
	}
	for name, value := range env {
		c.env[name] = value
	}
}

// rewound takes the last prompt, and what follows it, out of the conversation.
func (c *cli) rewound(target string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.messages) - 1
	for last >= 0 && c.messages[last].Role != "user" {
		last--
	}
	if last < 0 || c.messages[last].uuid != target {
		return `{"rewound":false,"precedingAssistantUuid":null,"error":"stale target"}`
	}
	c.messages = c.messages[:last]
	if last > 0 {
		return `{"rewound":true,"precedingAssistantUuid":"some"}`
	}
	return `{"rewound":true,"precedingAssistantUuid":null}`
}

func (c *cli) user(l *input) {
	c.add(said{uuid: l.UUID, Role: "user", Content: l.Message.Content})
	if l.ShouldQuery != nil && !*l.ShouldQuery {
		c.diesIf(DieWarm)
		c.result(false, 0, "")
		return
	}
	fault := CLIFault(directive(l.Message.Content, "cli"))
	switch fault {
	case DiePrompt:
		die("at a prompt")
	case DieRewind, StuckRewind:
		c.rewind = fault
	case Flood:
		_, _ = os.Stderr.WriteString(strings.Repeat("chaos: a flood of words\n", (1<<20)/24))
	}
	c.turn = &turn{cli: c, fault: fault, ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	c.turn.cancel = cancel
	c.put(`{"type":"system","subtype":"init","session_id":"s"}`)
	go c.turn.run(ctx)
}

// result writes a result line. Its numbers add up over the life of the process.
func (c *cli) result(isError bool, status int, text string) {
	c.mu.Lock()
	total, err := json.Marshal(c.total)
	c.mu.Unlock()
	if err != nil {
		die("of " + err.Error())
	}
	code := "null"
	if status > 0 {
		code = fmt.Sprint(status)
	}
	c.put(`{"type":"result","subtype":"success","is_error":%t,"api_error_status":%s,"result":%s,"session_id":"s","total_cost_usd":0,"modelUsage":%s}`,
		isError, code, quoted(text), total)
}

// leaveGrandchild starts a process that holds standard output and outlives this
// one.
func leaveGrandchild() {
	child := exec.Command("sleep", "600")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	_ = child.Start() // where there is no sleep there is none
	die("and leaves a child")
}

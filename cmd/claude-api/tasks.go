package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type tasksCommand struct {
	List   tasksListCommand   `cmd:"" help:"List the key's tasks, the newest first."`
	Get    tasksGetCommand    `cmd:"" help:"Show what is known of a task."`
	Cancel tasksCancelCommand `cmd:"" help:"End a task; with --forget, remove one that has ended."`
	Logs   tasksLogsCommand   `cmd:"" help:"Print what happens in a task, from its beginning to its end."`
}

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

// remoteTask is a task as the service tells of it.
type remoteTask struct {
	ID          string    `json:"id"`
	Status      string    `json:"status"`
	Description string    `json:"description"`
	Created     time.Time `json:"created_at"`
	Started     time.Time `json:"started_at"`
	Ended       time.Time `json:"ended_at"`
	Attempt     int       `json:"attempt"`
	Result      string    `json:"result"`
	Model       string    `json:"model"`
	Turns       int       `json:"turns"`
	Cost        *float64  `json:"cost_usd"`
	Detail      string    `json:"detail"`
	Artifacts   []struct {
		Path string `json:"path"`
	} `json:"artifacts"`
	Usage struct {
		Total int64 `json:"total_tokens"`
	} `json:"usage"`
}

// listedTask are the columns of a list, and the first of one task.
func listedTask() []column[remoteTask] {
	return []column[remoteTask]{
		{name: "id", title: "ID", value: func(t remoteTask) any { return t.ID }},
		{name: "status", title: "Status", value: func(t remoteTask) any { return t.Status }},
		{name: "created_at", title: "Created", value: func(t remoteTask) any { return t.Created }},
		{name: "ended_at", title: "Ended", value: func(t remoteTask) any { return t.Ended }},
		{name: "attempt", title: "Attempt", value: func(t remoteTask) any { return t.Attempt }},
	}
}

func wholeTask() []column[remoteTask] {
	return append(
		listedTask(),
		column[remoteTask]{name: "started_at", title: "Started", value: func(t remoteTask) any { return t.Started }},
		column[remoteTask]{name: "description", title: "Description", value: func(t remoteTask) any { return t.Description }},
		column[remoteTask]{name: "model", title: "Model", value: func(t remoteTask) any { return t.Model }},
		column[remoteTask]{name: "turns", title: "Turns", value: func(t remoteTask) any { return t.Turns }},
		column[remoteTask]{name: "tokens", title: "Tokens", value: func(t remoteTask) any { return t.Usage.Total }},
		column[remoteTask]{name: "cost_usd", title: "USD", value: func(t remoteTask) any {
			if t.Cost == nil {
				return nil
			}
			return usd(*t.Cost*1e6 + 0.5)
		}},
		column[remoteTask]{name: "artifacts", title: "Artifacts", value: func(t remoteTask) any {
			paths := []string{}
			for _, a := range t.Artifacts {
				paths = append(paths, a.Path)
			}
			return paths
		}},
		column[remoteTask]{name: "result", title: "Result", value: func(t remoteTask) any { return t.Result }},
		column[remoteTask]{name: "detail", title: "Error", value: func(t remoteTask) any { return t.Detail }},
	)
}

func untilInterrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

type tasksListCommand struct {
	remote     `embed:""`
	listOutput `embed:""`
	Status     string `help:"Only those in this state." enum:",queued,running,completed,failed,cancelled" default:""`
	Limit      int    `help:"The most that are listed, up to 1000." default:"100"`
}

func (c *tasksListCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if c.Status != "" {
		query.Set("status", c.Status)
	}
	var page struct {
		Tasks []remoteTask `json:"tasks"`
	}
	if err := c.read(ctx, http.MethodGet, "/v1/tasks?"+query.Encode(), &page); err != nil {
		return err
	}
	return printList(os.Stdout, c.Output, listedTask(), page.Tasks)
}

type tasksGetCommand struct {
	remote     `embed:""`
	listOutput `embed:""`
	ID         string `arg:"" help:"The task."`
}

func (c *tasksGetCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	var task remoteTask
	if err := c.read(ctx, http.MethodGet, pathOfTask(c.ID), &task); err != nil {
		return err
	}
	return printOne(os.Stdout, c.Output, wholeTask(), task)
}

func pathOfTask(id string) string { return "/v1/tasks/" + url.PathEscape(id) }

type tasksCancelCommand struct {
	remote `embed:""`
	ID     string `arg:"" help:"The task."`
	Forget bool   `help:"Remove a task that has ended, with its events and artifacts."`
}

func (c *tasksCancelCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	var task remoteTask
	if err := c.read(ctx, http.MethodGet, pathOfTask(c.ID), &task); err != nil {
		return err
	}
	if ended := task.Status != "queued" && task.Status != "running"; ended && !c.Forget {
		return fmt.Errorf("the task has ended already: it is %s", task.Status)
	}
	var answer struct {
		Status  string `json:"status"`
		Deleted bool   `json:"deleted"`
	}
	if err := c.read(ctx, http.MethodDelete, pathOfTask(c.ID), &answer); err != nil {
		return err
	}
	switch {
	case answer.Deleted:
		printf("%s is forgotten\n", c.ID)
	case answer.Status == "cancelled":
		printf("%s is cancelled\n", c.ID)
	default:
		printf("%s is ending\n", c.ID)
	}
	return nil
}

type tasksLogsCommand struct {
	remote `embed:""`
	ID     string `arg:"" help:"The task."`
	After  int64  `help:"Only events behind this one." default:"0"`
	JSON   bool   `name:"json" help:"The events as they are, one a line."`
}

func (c *tasksLogsCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	body, err := c.do(ctx, http.MethodGet, pathOfTask(c.ID)+"/events?after="+strconv.FormatInt(c.After, 10))
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewReader(body)
	ended := false
	for {
		line, err := lines.ReadString('\n')
		if event, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok {
			last, printErr := c.print(event)
			if printErr != nil {
				return printErr
			}
			ended = ended || last
		}
		switch {
		case err == nil:
		case ended && errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the events were cut off before the task's end")
		default:
			return err
		}
	}
}

// print prints an event, and says whether it is the last one.
func (c *tasksLogsCommand) print(event string) (last bool, err error) {
	var e struct {
		Type    string         `json:"type"`
		Content string         `json:"content"`
		Status  string         `json:"status"`
		Tool    string         `json:"tool"`
		Agent   string         `json:"agent"`
		Input   jsontext.Value `json:"input"`
		Output  jsontext.Value `json:"output"`
		N       int            `json:"n"`
		By      string         `json:"by"`
		Decided string         `json:"decision"`
		Result  string         `json:"result"`
		Detail  string         `json:"detail"`
	}
	if err := json.Unmarshal([]byte(event), &e); err != nil {
		return false, fmt.Errorf("read an event: %w", err)
	}
	last = e.Type == "result" || e.Type == "error"
	if c.JSON {
		printf("%s\n", event)
		return last, nil
	}
	who := e.Type
	if e.Agent != "" {
		who += " (" + e.Agent + ")"
	}
	var text string
	switch e.Type {
	case "token":
		return false, nil // the text comes whole
	case "status":
		text = e.Status
	case "tool_use":
		text = e.Tool + " " + string(e.Input)
	case "tool_result":
		text = e.Tool + " " + string(e.Output)
	case "approval":
		text = strconv.Itoa(e.N) + ": " + e.Tool + " " + string(e.Input)
	case "approval_resolved":
		text = strconv.Itoa(e.N) + ": " + e.Decided + " by " + e.By
	case "result":
		text = e.Result
	case "error":
		text = e.Detail
	default:
		text = e.Content
	}
	printf("%s: %s\n", who, printable(text))
	return last, nil
}

// printable leaves nothing in a text that could steer a terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' || unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, text)
}

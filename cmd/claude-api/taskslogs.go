package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

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

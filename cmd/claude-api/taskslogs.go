package main

import (
	"context"
	"strconv"
	"strings"
	"unicode"

	"claude-code-api-service/client"
)

type tasksLogsCommand struct {
	remote `embed:""`
	ID     string `arg:"" help:"The task."`
	After  int64  `help:"Only events behind this one." default:"0"`
	JSON   bool   `name:"json" help:"The events as they are, one a line."`
}

// Help is shown by tasks logs --help.
func (*tasksLogsCommand) Help() string {
	return "Goes on where it was when the connection breaks or the service starts again."
}

func (c *tasksLogsCommand) Run() error {
	return c.call(func(ctx context.Context, service *client.Client) error {
		for e, err := range service.TaskEvents(ctx, c.ID, c.After) {
			if err != nil {
				return err
			}
			c.print(e)
		}
		return nil
	})
}

func (c *tasksLogsCommand) print(e client.TaskEvent) {
	if c.JSON {
		printLine(formLines, e.Data)
		return
	}
	who := e.Type
	if e.Agent != "" {
		who += " (" + e.Agent + ")"
	}
	var text string
	switch e.Type {
	case client.EventToken:
		return // the text comes whole
	case client.EventStatus:
		text = e.Status
	case client.EventToolUse:
		text = e.Tool + " " + string(e.Input)
	case client.EventToolResult:
		text = e.Tool + " " + string(e.Output)
	case client.EventApproval:
		text = strconv.Itoa(e.N) + ": " + e.Tool + " " + string(e.Input)
	case client.EventApprovalResolved:
		text = strconv.Itoa(e.N) + ": " + e.Decision + " by " + e.By
	case client.EventResult:
		text = e.Task.Result
	case client.EventError:
		text = e.Task.Detail
	default:
		text = e.Content
	}
	printf("%s: %s\n", printable(who), printable(text))
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

// Command task has an agent do something, answers what it asks, and tells what it does.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"claude-code-api-service/client"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c, err := client.New(client.Options{URL: os.Getenv("URL"), Key: os.Getenv("KEY")})
	if err != nil {
		return err
	}
	defer c.Close()
	description := "Write the names of three rivers to rivers.txt."
	if len(os.Args) > 1 {
		description = os.Args[1]
	}

	// It is queued, durably: it goes on whatever becomes of this program.
	task, err := c.TaskAsync(ctx, client.TaskRequest{
		Description: description,
		Model:       "haiku",
		Tools:       []string{"Read", "Glob"}, // these may be used,
		Approval:    client.ApprovalAsk,       // and a person is asked about others
		MaxCost:     0.25,                     // US dollars
	})
	if err != nil {
		return err
	}

	// All of its events, from the first one; a connection that breaks is made again.
	for event, err := range c.TaskEvents(ctx, task.ID, 0) {
		if err != nil {
			return err
		}
		switch event.Type {
		case client.EventToolUse:
			fmt.Printf("it uses %s: %s\n", event.Tool, event.Input)
		case client.EventApproval:
			// Here a person would be asked.
			fmt.Printf("it asks for %s: allowed\n", event.Tool)
			if err := c.AnswerTask(ctx, task.ID, event.N, client.Answer{Decision: client.Allow}); err != nil {
				return err
			}
		case client.EventResult, client.EventError:
			task = event.Task
		}
	}
	if err := task.Err(); err != nil {
		return err
	}
	fmt.Println(task.Result)
	for _, file := range task.Artifacts {
		fmt.Printf("%s %s (%d bytes)\n", file.Change, file.Path, file.Bytes)
	}
	return nil
}

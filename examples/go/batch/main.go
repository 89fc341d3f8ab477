// Command batch has many prompts answered at once.
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

	// Batch would wait for all of them; this one is kept by the service until it is done.
	accepted, err := c.BatchAsync(ctx, client.BatchRequest{Model: "haiku", Prompts: []client.BatchPrompt{
		{Prompt: "Name a river."},
		{Prompt: "Name a lake.", ID: "lake"},
		{Prompt: "Name a mountain."},
	}})
	if err != nil {
		return err
	}
	batch, err := c.AwaitBatch(ctx, accepted.ID, func(so *client.BatchResponse) {
		fmt.Fprintf(os.Stderr, "%d of %d\n", so.Completed+so.Failed, so.Total)
	})
	if err != nil {
		return err
	}

	// The results are in the order of the prompts; one that failed failed alone.
	for _, result := range batch.Results {
		if result.Status == client.StatusFailed {
			fmt.Printf("%s failed: %s\n", result.ID, result.Error)
			continue
		}
		fmt.Printf("%s: %s\n", result.ID, result.Content)
	}
	fmt.Printf("%d tokens\n", batch.TotalTokens)
	return nil
}

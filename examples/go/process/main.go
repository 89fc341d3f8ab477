// Command process asks a service for an answer, and for one as a stream.
package main

import (
	"context"
	"errors"
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// Without a URL it is http://127.0.0.1:8006.
	c, err := client.New(client.Options{URL: os.Getenv("URL"), Key: os.Getenv("KEY")})
	if err != nil {
		return err
	}
	defer c.Close()

	answer, err := c.Process(ctx, client.ProcessRequest{Model: "haiku", Prompt: "Name three rivers."})
	// What the service refuses is an *Error that says why, and when to try again.
	if refused := (*client.Error)(nil); errors.As(err, &refused) {
		return fmt.Errorf("refused with %d, %s: %w", refused.Status, refused.Category, err)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s\n(%d tokens)\n", answer.Content, answer.Metadata.Usage.TotalTokens)

	// The same as it is generated.
	for event, err := range c.ProcessStream(ctx, client.ProcessRequest{Model: "haiku", Prompt: "Name a lake."}) {
		if err != nil {
			return err
		}
		if event.Type == client.EventToken {
			fmt.Print(event.Content)
		}
	}
	fmt.Println()
	return nil
}

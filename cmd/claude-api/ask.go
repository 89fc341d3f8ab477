package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/client"
)

var errNothingDone = errors.New("nothing was done (--yes asks nothing)")

type processCommand struct {
	Send sendProcessCommand `cmd:"" help:"Send a prompt, and print the answer."`
	Get  getProcessCommand  `cmd:"" help:"Print the answer to a prompt that was sent with --async."`
}

// answerOutput is how an answer is printed.
type answerOutput struct {
	Output  string `short:"o" help:"text: the answer alone; json: all that is said about it." enum:"text,json" default:"text"`
	Verbose bool   `short:"v" help:"Tell on standard error which model answered, and what it took."`
}

type sendProcessCommand struct {
	remote         `embed:""`
	answerOutput   `embed:""`
	Prompt         string        `arg:"" optional:"" help:"The prompt; without it, or with \"-\", standard input is."`
	Model          string        `short:"m" help:"haiku, sonnet, opus, auto, a full id, or another vendor's name." default:"auto"`
	Provider       string        `help:"The provider that is named in the request. It chooses nothing." default:"claudecode"`
	System         string        `help:"The system prompt."`
	Backend        string        `help:"cli or direct; without it the service chooses." enum:",cli,direct" default:""`
	MaxTokens      int           `help:"The most that the answer may have; 0: as many as the service says."`
	Temperature    *float64      `help:"From 0 to 2."`
	Session        string        `help:"The session that the prompt is for."`
	Timeout        time.Duration `help:"When the service gives up; 0: it doesn't."`
	IdempotencyKey string        `help:"Have the prompt answered once, however often it is sent with this key."`
	Stream         bool          `help:"Print the answer as it comes; with --output json its events, one a line." xor:"how"`
	Async          bool          `help:"Print an id at once, for process get." xor:"how"`
}

func (c *sendProcessCommand) Run() error {
	if c.MaxTokens < 0 {
		return misused("--max-tokens: must not be negative")
	}
	prompt, err := textOf(c.Prompt, "the prompt")
	if err != nil {
		return err
	}
	request := client.ProcessRequest{
		Provider: c.Provider, Model: c.Model, Prompt: prompt, System: c.System, MaxTokens: c.MaxTokens, Temperature: c.Temperature,
		SessionID: c.Session, Timeout: c.Timeout,
	}
	options := []client.Option{client.Backend(c.Backend)}
	if c.IdempotencyKey != "" {
		options = append(options, client.IdempotencyKey(c.IdempotencyKey))
	}
	return c.call(func(ctx context.Context, service *client.Client) error {
		switch {
		case c.Async:
			accepted, err := service.ProcessAsync(ctx, request, options...)
			if err != nil {
				return err
			}
			printf("%s\n", onScreen(accepted.ID))
			return nil
		case c.Stream:
			return c.stream(ctx, service, request, options)
		}
		answer, err := service.Process(ctx, request, options...)
		if err != nil {
			return err
		}
		return c.print(answer)
	})
}

// mostInput bounds a prompt that is read: the service takes no larger body by default.
const mostInput = 32 << 20

// textOf gives an argument, or standard input in its place.
func textOf(argument, what string) (string, error) {
	if argument != "" && argument != fromInput {
		return argument, nil
	}
	if argument == "" && isTerminal(os.Stdin) {
		fmt.Fprintln(os.Stderr, "claude-api: reading "+what+" from the terminal, to its end (Ctrl-D)")
	}
	text, err := io.ReadAll(io.LimitReader(os.Stdin, mostInput+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s: %w", what, err)
	case len(text) > mostInput:
		return "", misused("%s is longer than %d MiB", what, mostInput>>20)
	case strings.TrimSpace(string(text)) == "":
		return "", misused("%s is empty", what)
	}
	return string(text), nil
}

func (c *sendProcessCommand) stream(ctx context.Context, service *client.Client, request client.ProcessRequest, options []client.Option) error {
	for e, err := range service.ProcessStream(ctx, request, options...) {
		if err != nil {
			if c.Output == "text" {
				printf("\n")
			}
			return err
		}
		switch {
		case c.Output == "json":
			if err := printEvent(e); err != nil {
				return err
			}
		case e.Type == client.EventToken:
			printf("%s", onScreen(e.Content))
		}
		if e.Done != nil {
			if c.Output == "text" {
				printf("\n")
			}
			c.tell(e.Done)
		}
	}
	return nil
}

// printEvent prints an event of a stream on a line.
func printEvent(e client.ProcessEvent) error {
	line, err := json.Marshal(struct {
		Type    string                  `json:"type"`
		Content string                  `json:"content,omitzero"`
		Block   jsontext.Value          `json:"block,omitzero"`
		Done    *client.ProcessResponse `json:"response,omitzero"`
	}{e.Type, e.Content, e.Block, e.Done}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	printLine(formLines, line)
	return nil
}

// onScreen gives a text as it is printed: as it is, but where a terminal would obey it.
func onScreen(text string) string {
	if isTerminal(os.Stdout) {
		return printable(text)
	}
	return text
}

func (o *answerOutput) print(answer *client.ProcessResponse) error {
	if o.Output == "json" {
		if err := printJSON(answer); err != nil {
			return err
		}
	} else {
		printf("%s\n", onScreen(answer.Content))
	}
	o.tell(answer)
	return nil
}

func printJSON(v any) error {
	text, err := json.Marshal(v, jsontext.WithIndent("  "), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	printLine(formJSON, text)
	return nil
}

// tell says on standard error what there is to say about an answer: its warnings always.
func (o *answerOutput) tell(answer *client.ProcessResponse) {
	m := answer.Metadata
	for _, text := range m.Warnings {
		warn("%s", printable(text))
	}
	if !o.Verbose {
		return
	}
	cost := "price not known"
	if m.CostUSD != nil {
		cost = tableText(dollars(m.CostUSD)) + " USD"
	}
	took := time.Duration(m.ProcessingTime * float64(time.Second)).Round(time.Millisecond)
	fmt.Fprintln(os.Stderr, styled(os.Stderr, styleFaint, printable(fmt.Sprintf(
		"%s: %d tokens in, %d out, %s, %s (%s)", m.ActualModel, m.Usage.InputTokens, m.Usage.OutputTokens, cost, took, m.FinishReason,
	))))
}

type getProcessCommand struct {
	remote       `embed:""`
	answerOutput `embed:""`
	ID           string `arg:"" help:"As process send --async printed it."`
	Wait         bool   `help:"Wait until it is answered."`
}

func (c *getProcessCommand) Run() error {
	return c.call(func(ctx context.Context, service *client.Client) error {
		if c.Wait {
			answer, err := service.AwaitProcess(ctx, c.ID)
			if err != nil {
				return err
			}
			return c.print(answer)
		}
		run, err := service.ProcessResult(ctx, c.ID)
		switch {
		case err != nil:
			return err
		case run.Err() != nil:
			return run.Err()
		case run.Response == nil:
			return &exitError{exitLater, errors.New("it isn't answered yet; --wait waits for that")}
		}
		return c.print(run.Response)
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"claude-code-api-service/client"
)

type batchCommand struct {
	Run runBatchCommand `cmd:"" help:"Have the prompts of a file answered, and print the results in their order."`
	Get getBatchCommand `cmd:"" help:"Print the results of a batch that was sent before."`
}

// batchOutput is how results are printed.
type batchOutput struct {
	Output string `short:"o" help:"table, json, csv, or lines: JSON, one result a line." enum:"table,json,csv,lines" default:"table"`
}

type runBatchCommand struct {
	remote      `embed:""`
	batchOutput `embed:""`
	File        string        `arg:"" help:"The prompts; \"-\" is standard input."`
	Format      string        `help:"txt: one a line; json: a list of texts or of {prompt, id}; jsonl: one of those a line; csv: with a header that names prompt, and maybe id. Without it, by the file's name." enum:",txt,json,jsonl,csv" default:""`
	Model       string        `short:"m" help:"The model of all prompts." default:"auto"`
	System      string        `help:"The system prompt of all of them."`
	Backend     string        `help:"cli or direct; without it the service chooses." enum:",cli,direct" default:""`
	MaxTokens   int           `help:"The most that an answer may have; 0: as many as the service says."`
	Temperature *float64      `help:"From 0 to 2."`
	Timeout     time.Duration `help:"When the service gives up what isn't answered; 0: after half an hour."`
	Size        int           `help:"The most prompts that are sent together; a file with more becomes several batches, one after the other." default:"1000"`
	Async       bool          `help:"Print the ids of the batches at once, for batch get."`
}

// Help is shown by batch run --help.
func (*runBatchCommand) Help() string {
	return "The service keeps a batch: when this command is interrupted, it goes on, and batch get prints what came of it. " +
		"Exit code 6 says that some prompts failed, 1 that all did."
}

// Run sends the prompts.
func (c *runBatchCommand) Run() error {
	switch {
	case c.Size < 1:
		return misused("--size: must be at least 1")
	case c.MaxTokens < 0:
		return misused("--max-tokens: must not be negative")
	}
	prompts, err := readPrompts(c.File, c.Format)
	if err != nil {
		return err
	}
	return c.call(func(ctx context.Context, service *client.Client) error {
		all := &batchResults{total: len(prompts), progress: newProgressBar()}
		for len(prompts) > 0 {
			n := min(c.Size, len(prompts))
			accepted, err := service.BatchAsync(ctx, client.BatchRequest{
				Prompts: prompts[:n], Model: c.Model, System: c.System, MaxTokens: c.MaxTokens, Temperature: c.Temperature, Timeout: c.Timeout,
			}, client.Backend(c.Backend))
			if err != nil {
				return all.fail(c.Output, err)
			}
			prompts = prompts[n:]
			if c.Async {
				printf("%s\n", onScreen(accepted.ID))
				continue
			}
			if err := all.await(ctx, service, accepted.ID); err != nil {
				return all.fail(c.Output, err)
			}
		}
		if c.Async {
			return nil
		}
		return all.print(c.Output)
	})
}

// batchResults are those of all batches of a file.
type batchResults struct {
	total             int
	list              []client.BatchResult
	completed, failed int
	tokens            int64
	cost              float64
	progress          *progressBar
}

// await waits for a batch and takes its results.
func (b *batchResults) await(ctx context.Context, service *client.Client, id string) error {
	show := func(r *client.BatchResponse) {
		besides := ""
		if failed := b.failed + r.Failed; failed > 0 {
			besides = strconv.Itoa(failed) + " failed"
		}
		b.progress.show(len(b.list)+len(r.Results), b.total, besides)
	}
	show(&client.BatchResponse{})
	answer, err := service.AwaitBatch(ctx, id, show)
	b.progress.clear()
	if answer != nil {
		b.take(answer)
	}
	if errors.Is(err, context.Canceled) {
		return &exitError{exitInterrupted, fmt.Errorf("interrupted; the batch goes on, and this gets its results: claude-api batch get %s", id)}
	}
	return err
}

func (b *batchResults) take(r *client.BatchResponse) {
	b.list = append(b.list, r.Results...)
	b.completed, b.failed = b.completed+r.Completed, b.failed+r.Failed
	b.tokens, b.cost = b.tokens+r.TotalTokens, b.cost+r.TotalCost
}

// fail prints the results that there are before an error.
func (b *batchResults) fail(form string, err error) error {
	if len(b.list) == 0 {
		return err
	}
	code := exitCode(err)
	if code == exitFailed && b.completed > 0 {
		code = exitPartly
	}
	if printErr := printList(os.Stdout, form, batchColumns(form), b.list); printErr != nil {
		return printErr
	}
	return &exitError{code, fmt.Errorf("%d of %d prompts have no result: %s", b.total-len(b.list), b.total, errorText(err))}
}

// print prints all results, and in a line for people what they come to.
func (b *batchResults) print(form string) error {
	if err := printList(os.Stdout, form, batchColumns(form), b.list); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d of %d completed, %d failed, %d tokens, %s USD\n", b.completed, b.total, b.failed, b.tokens, tableText(dollars(&b.cost)))
	switch {
	case b.failed == 0:
		return nil
	case b.completed == 0:
		return &exitError{code: exitFailed}
	}
	return &exitError{code: exitPartly}
}

// cellLetters is how much of a text a cell of a table shows.
const cellLetters = 60

func batchColumns(form string) []column[client.BatchResult] {
	short := func(text string) string {
		if form != formTable {
			return text
		}
		text = strings.Join(strings.Fields(text), " ")
		if letters := []rune(text); len(letters) > cellLetters {
			text = string(letters[:cellLetters-1]) + "…"
		}
		return text
	}
	tokens := func(of func(client.Usage) int64) func(client.BatchResult) any {
		return func(r client.BatchResult) any {
			if r.Status == client.StatusFailed {
				return nil
			}
			return of(r.Usage)
		}
	}
	return []column[client.BatchResult]{
		{name: "id", title: "ID", value: func(r client.BatchResult) any { return r.ID }},
		{name: "status", title: "Status", value: func(r client.BatchResult) any { return condition(r.Status) }},
		{name: "prompt", value: func(r client.BatchResult) any { return r.Prompt }},
		{name: "input_tokens", value: tokens(func(u client.Usage) int64 { return u.InputTokens })},
		{name: "output_tokens", value: tokens(func(u client.Usage) int64 { return u.OutputTokens })},
		{title: "Tokens", value: tokens(func(u client.Usage) int64 { return u.TotalTokens })},
		{name: "cost_usd", title: "USD", value: func(r client.BatchResult) any { return dollars(r.Cost) }},
		{title: "Answer", value: func(r client.BatchResult) any {
			if r.Error != "" {
				return short(r.Error)
			}
			return short(r.Content)
		}},
		{name: "content", value: func(r client.BatchResult) any { return orNil(r.Content) }},
		{name: "error", value: func(r client.BatchResult) any { return orNil(r.Error) }},
	}
}

type getBatchCommand struct {
	remote      `embed:""`
	batchOutput `embed:""`
	ID          string `arg:"" help:"As batch run printed it."`
	Wait        bool   `help:"Wait until all prompts have results; without it those that are there are printed."`
}

// Run prints the results.
func (c *getBatchCommand) Run() error {
	return c.call(func(ctx context.Context, service *client.Client) error {
		run, err := service.BatchResult(ctx, c.ID)
		if err != nil {
			return err
		}
		all := &batchResults{progress: newProgressBar()}
		if run.Response != nil {
			all.total = run.Response.Total
		}
		if c.Wait || run.Status != client.StatusRunning {
			if err := all.await(ctx, service, c.ID); err != nil {
				return all.fail(c.Output, err)
			}
			all.total = len(all.list)
			return all.print(c.Output)
		}
		if run.Response != nil {
			all.take(run.Response)
		}
		if err := printList(os.Stdout, c.Output, batchColumns(c.Output), all.list); err != nil {
			return err
		}
		return &exitError{exitLater, errors.New("the batch isn't done yet; --wait waits for that")}
	})
}

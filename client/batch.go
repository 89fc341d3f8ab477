package client

import (
	"context"
	"net/http"
	"time"
)

// BatchRequest asks for the answers to many prompts.
type BatchRequest struct {
	Prompts     []BatchPrompt `json:"prompts"`
	Model       string        `json:"model,omitzero"` // "" is auto
	System      string        `json:"system,omitzero"`
	MaxTokens   int           `json:"max_tokens,omitzero"`
	Temperature *float64      `json:"temperature,omitzero"`
	// Timeout is for the whole batch; 0 is the service's, five minutes.
	Timeout time.Duration `json:"-"`
}

// BatchPrompt is one of a batch.
type BatchPrompt struct {
	Prompt string `json:"prompt"`
	// ID is given back with the result; "": the place in the batch, from 0.
	ID string `json:"id,omitzero"`
}

type sentBatch struct {
	BatchRequest
	Timeout float64 `json:"timeout,omitzero"`
	Async   bool    `json:"async_processing,omitzero"`
}

// BatchResponse has the results in the order of the prompts. That of a batch that runs
// lacks those that aren't there yet.
type BatchResponse struct {
	Total       int           `json:"total"`
	Completed   int           `json:"completed"`
	Failed      int           `json:"failed"`
	Results     []BatchResult `json:"results"`
	TotalCost   float64       `json:"total_cost"` // US dollars, as far as prices are known
	TotalTokens int64         `json:"total_tokens"`
}

// BatchResult is what became of one prompt.
type BatchResult struct {
	ID      string   `json:"id"`
	Prompt  string   `json:"prompt"`
	Status  string   `json:"status"` // StatusCompleted or StatusFailed
	Content string   `json:"content"`
	Usage   Usage    `json:"usage"`
	Cost    *float64 `json:"cost"`  // US dollars; nil: not known
	Error   string   `json:"error"` // "" unless it failed
}

// Batch has all prompts answered and waits for that. One that fails fails alone.
func (c *Client) Batch(ctx context.Context, request BatchRequest, options ...Option) (*BatchResponse, error) {
	answer := &BatchResponse{}
	if err := c.ask(ctx, http.MethodPost, pathBatch, &sentBatch{BatchRequest: request, Timeout: request.Timeout.Seconds()}, answer, newCall(options)); err != nil {
		return nil, err
	}
	return answer, nil
}

// BatchAsync has all prompts answered later; BatchResult and AwaitBatch give the
// answers. It returns when the batch is queued, durably.
func (c *Client) BatchAsync(ctx context.Context, request BatchRequest, options ...Option) (*Accepted, error) {
	a := &Accepted{}
	sent := &sentBatch{BatchRequest: request, Timeout: request.Timeout.Seconds(), Async: true}
	if err := c.ask(ctx, http.MethodPost, pathBatch, sent, a, newCall(options)); err != nil {
		return nil, err
	}
	return a, nil
}

// BatchResult gives what is known of a batch that BatchAsync has made, with the results so
// far.
func (c *Client) BatchResult(ctx context.Context, id string) (*Run[BatchResponse], error) {
	return result[BatchResponse](ctx, c, pathBatch, id)
}

// AwaitBatch waits until a batch has ended, and gives its results. Each time it has asked,
// progress, unless it is nil, hears of the results so far. Where the batch failed as a whole
// the results that there are come with the error.
func (c *Client) AwaitBatch(ctx context.Context, id string, progress func(*BatchResponse)) (*BatchResponse, error) {
	return await(ctx, func() (*Run[BatchResponse], error) {
		r, err := c.BatchResult(ctx, id)
		if err == nil && progress != nil && r.Response != nil {
			progress(r.Response)
		}
		return r, err
	})
}

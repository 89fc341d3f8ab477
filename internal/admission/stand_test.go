package admission

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// nothingSpent is a Store of a new service.
type nothingSpent struct{}

func (nothingSpent) Spent(context.Context, budget.Owner, budget.Period, time.Time) (budget.Amount, error) {
	return budget.Amount{}, nil
}

// spentBefore is a Store that counts how often it is asked.
type spentBefore struct {
	amount budget.Amount
	err    error
	asked  int
}

func (s *spentBefore) Spent(context.Context, budget.Owner, budget.Period, time.Time) (budget.Amount, error) {
	s.asked++
	return s.amount, s.err
}

// priced has a model of which a token of input costs one micro-dollar, in prompts
// above 100,000 tokens two, written to the cache for an hour as much again, and one of
// output five.
type priced struct{}

func (priced) ContextWindow(model string) int64 {
	if model == "model" {
		return 200_000
	}
	return 0
}

func (priced) SearchPrice() int64 { return 10_000 }

func (priced) PricedSpeed(speed string) bool { return speed == "standard" }

func (priced) Price(model string, prompt int64, hour bool) (input, output int64, known bool) {
	input = 1_000_000
	if prompt > 100_000 {
		input *= 2
	}
	if hour {
		input *= 2
	}
	return input, 5_000_000, model == "model"
}

func requestOf(t testing.TB, key string, maxTokens int) *gateway.Call {
	t.Helper()
	r, err := message.ParseRequest(fmt.Appendf(nil, `{"max_tokens":%d,"messages":[{"role":"user","content":"hello"}]}`, maxTokens))
	if err != nil {
		t.Fatal(err)
	}
	return &gateway.Call{Request: r, Model: "model", Caller: &gateway.Caller{KeyID: key, ProjectID: "p"}, Clock: latency.Start()}
}

// input is what requestOf's input is reserved with.
func input(call *gateway.Call) int64 { return int64(len(call.Request.Body())) + addedByAPI }

func limitOf(kind budget.Kind, id string, period budget.Period, unit budget.Unit, hard int64) budget.Limit {
	return budget.Limit{Owner: budget.Owner{Kind: kind, ID: id}, Period: period, Unit: unit, Hard: hard}
}

// used is a result of so many tokens and micro-dollars.
func used(tokens, micros int64) gateway.Result {
	r := gateway.Result{CostMicroUSD: &micros}
	r.Usage.OutputTokens = tokens
	return r
}

// begin admits and reserves.
func begin(a *Admitter, call *gateway.Call) error {
	if err := a.Admit(context.Background(), call); err != nil {
		return err
	}
	err := a.Reserve(context.Background(), call)
	if err != nil {
		a.Release(call, gateway.Result{})
	}
	return err
}

func refused(t *testing.T, err error, category apierror.Category, again bool) {
	t.Helper()
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != category || (e.RetryAfter > 0) != again {
		t.Errorf("err = %v, want %s, to be tried again: %t", err, category, again)
	}
}

func requestWith(t testing.TB, limits []budget.Limit) *gateway.Call {
	call := requestOf(t, "k", 1000)
	call.Caller.Budgets = limits
	return call
}

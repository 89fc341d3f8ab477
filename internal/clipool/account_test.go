package clipool

import (
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

func TestAccount(t *testing.T) {
	price := func(model string, _ time.Time, u message.Usage) (int64, bool) {
		return u.Total() * 100, model == "known"
	}
	answer := func(model string, output int64) claudecli.Answer {
		return claudecli.Answer{Summary: message.Summary{ID: "msg", Model: model, Usage: message.Usage{InputTokens: 3, OutputTokens: output}}}
	}
	turn := func(input, output, cost int64, basis claudecli.CostBasis) *claudecli.Spent {
		return &claudecli.Spent{Usage: message.Usage{InputTokens: input, OutputTokens: output}, CostMicroUSD: cost, Basis: basis}
	}
	const none = -1
	for _, test := range []struct {
		name          string
		answer        claudecli.Answer
		turn          *claudecli.Spent
		earlier       spent
		input, output int64
		cost          int64
	}{
		{name: "the CLI's figure", answer: answer("known", 5), turn: turn(3, 5, 42, claudecli.BasisList), input: 3, output: 5, cost: 42},
		{name: "the CLI's figure alone", answer: answer("other", 5), turn: turn(3, 5, 42, claudecli.BasisList), input: 3, output: 5, cost: 42},
		{name: "a guess", answer: answer("known", 5), turn: turn(3, 5, 42, claudecli.BasisUnknown), input: 3, output: 5, cost: 800},
		{name: "a guess alone", answer: answer("other", 5), turn: turn(3, 5, 42, claudecli.BasisUnknown), input: 3, output: 5, cost: none},
		{name: "an older CLI", answer: answer("known", 5), turn: turn(3, 5, 42, claudecli.BasisNotSaid), input: 3, output: 5, cost: 800},
		{name: "an older CLI alone", answer: answer("other", 5), turn: turn(3, 5, 42, claudecli.BasisNotSaid), input: 3, output: 5, cost: 42},
		{name: "calls of its own", answer: answer("known", 5), turn: turn(11, 6, 42, claudecli.BasisList), input: 11, output: 6, cost: 42},
		{name: "an answer that parks", answer: answer("known", 5), input: 3, output: 5, cost: 800},
		{
			name: "behind one that parked", answer: answer("known", 5), turn: turn(20, 15, 1042, claudecli.BasisList),
			earlier: spent{message.Usage{InputTokens: 16, OutputTokens: 10}, 1000}, input: 4, output: 5, cost: 42,
		},
		{
			name: "what came before was dearer", answer: answer("known", 5), turn: turn(6, 10, 42, claudecli.BasisList),
			earlier: spent{message.Usage{InputTokens: 3, OutputTokens: 5}, 1000}, input: 3, output: 5, cost: 0,
		},
		{name: "what the CLI didn't count", answer: answer("known", 30), turn: turn(3, 1, 42, claudecli.BasisNotSaid), input: 3, output: 30, cost: 3300},
		{name: "no answer", cost: none},
		{name: "no answer, but calls", turn: turn(7, 0, 42, claudecli.BasisList), input: 7, cost: 42},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := New(Options{Price: price})
			t.Cleanup(p.Close)
			got := answered{Answer: test.answer}
			got.Turn = test.turn
			p.account(&gateway.Call{Model: "routed", Clock: latency.Start()}, &got, test.earlier)
			cost := int64(none)
			if got.cost != nil {
				cost = *got.cost
			}
			if got.used.InputTokens != test.input || got.used.OutputTokens != test.output || cost != test.cost {
				t.Errorf("used %+v for %d", got.used, cost)
			}
			want := spent{test.earlier.usage, test.earlier.microUSD + max(0, test.cost)}
			want.usage.InputTokens += test.input
			want.usage.OutputTokens += test.output
			if got.spent != want {
				t.Errorf("with those before: %+v, want %+v", got.spent, want)
			}
		})
	}
}

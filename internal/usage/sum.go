package usage

import (
	"time"

	"claude-code-api-service/internal/budget"
)

// account is what rows are added up by.
type account struct {
	day                   int64 // microseconds since 1970
	projectID, key, model string
}

// sums adds up the rows of one commit by the day of their arrival in the project's
// time zone, project, key and model. Rows without tokens that budgets aren't charged
// for, of requests that were refused, are left out.
func sums(batch []*waiter) []Sum {
	var list []Sum
	places := make(map[account]int, min(len(batch), 16)) // in list
	for _, w := range batch {
		r := &w.row
		if r.CostMicroUSD == nil && w.charged == (budget.Amount{}) && r.Usage.Total()+r.Usage.CacheReadInputTokens+r.Usage.CacheCreationInputTokens == 0 {
			continue
		}
		of := account{budget.Day.Start(r.Time.In(w.zone)).UnixMicro(), r.ProjectID, r.KeyID, r.model()}
		i, known := places[of]
		if !known {
			i = len(list)
			places[of] = i
			list = append(list, Sum{Day: time.UnixMicro(of.day).UTC(), ProjectID: of.projectID, KeyID: of.key, Model: of.model})
		}
		list[i].add(r)
		if !w.part {
			list[i].Requests++
		}
		list[i].Charged = list[i].Charged.Add(w.charged)
	}
	return list
}

// model is what a row counts as: the model that answered, else the one that was
// routed to, else the one that was asked for.
func (r *Row) model() string {
	switch {
	case r.Answered != "":
		return r.Answered
	case r.Routed != "":
		return r.Routed
	}
	return r.Requested
}

func (s *Sum) add(r *Row) {
	s.Usage.InputTokens += r.Usage.InputTokens
	s.Usage.OutputTokens += r.Usage.OutputTokens
	s.Usage.CacheReadInputTokens += r.Usage.CacheReadInputTokens
	s.Usage.CacheCreationInputTokens += r.Usage.CacheCreationInputTokens
	if r.CostMicroUSD == nil {
		s.Unpriced++
	} else {
		s.CostMicroUSD += *r.CostMicroUSD
	}
}

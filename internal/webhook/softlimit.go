package webhook

import (
	"fmt"
	"time"

	"claude-code-api-service/internal/budget"
)

// SoftLimitCrossed is the type of the event that a budget's soft limit was
// reached.
const SoftLimitCrossed = "budget.soft_limit_crossed"

// rememberTotal is how long the limit of a budget without an end is told of only
// once.
const rememberTotal = 10 * 365 * 24 * time.Hour

// softLimit is the data of SoftLimitCrossed.
type softLimit struct {
	Owner       owner         `json:"owner"`
	ProjectID   string        `json:"project_id,omitzero"`
	Period      budget.Period `json:"period"`
	PeriodStart *time.Time    `json:"period_start,omitzero"` // nil: since ever
	Unit        budget.Unit   `json:"unit"`
	SoftLimit   amount        `json:"soft_limit"`
	HardLimit   *amount       `json:"hard_limit,omitzero"` // nil: there is none
	Spent       amount        `json:"spent"`
}

type owner struct {
	Kind budget.Kind `json:"kind"`
	ID   string      `json:"id"`
}

// amount has the one unit or the other.
type amount struct {
	Tokens   *int64   `json:"tokens,omitzero"`
	MicroUSD *int64   `json:"micro_usd,omitzero"`
	USD      *float64 `json:"usd,omitzero"` // the same
}

func amountOf(n int64, unit budget.Unit) amount {
	if unit == budget.USD {
		usd := float64(n) / 1e6
		return amount{MicroUSD: &n, USD: &usd}
	}
	return amount{Tokens: &n}
}

// OfSoftLimit makes the event that in the period that begins at start, in the
// project's time zone, the limit's owner has spent so much, in the limit's unit,
// that its soft limit is reached. It is news once for each period and soft limit.
func OfSoftLimit(limit budget.Limit, project string, start time.Time, spent int64) Event {
	data := softLimit{
		Owner: owner{limit.Owner.Kind, limit.Owner.ID}, ProjectID: project, Period: limit.Period, Unit: limit.Unit,
		SoftLimit: amountOf(limit.Soft, limit.Unit), Spent: amountOf(spent, limit.Unit),
	}
	if limit.Hard > 0 {
		hard := amountOf(limit.Hard, limit.Unit)
		data.HardLimit = &hard
	}
	now := time.Now()
	forget := now.Add(rememberTotal)
	if end, ok := limit.Period.End(start); ok {
		data.PeriodStart = &start
		// A call that arrived before the end may cross it after the end.
		forget = end.Add(giveUpAfter)
	}
	return Event{
		Type: SoftLimitCrossed, Time: now, Forget: forget, Data: data,
		Subject: fmt.Sprintf("%s/%s/%s/%d/%s/%d", limit.Owner.Kind, limit.Owner.ID, limit.Period, start.Unix(), limit.Unit, limit.Soft),
	}
}

package usage

import (
	"time"

	"claude-code-api-service/internal/budget"
)

// account is what a spend is added up by.
type account struct {
	owner  budget.Owner
	period budget.Period
	start  int64 // microseconds since 1970
}

// spends adds up what the rows of one commit have spent, by key and by project
// and for each period that holds the request's arrival in the project's time zone.
func spends(batch []*waiter) []budget.Spend {
	var sums map[account]int // place in list
	var list []budget.Spend
	for _, w := range batch {
		amount := budget.Amount{Tokens: w.row.Usage.Total()}
		if w.row.CostMicroUSD != nil {
			amount.MicroUSD = *w.row.CostMicroUSD
		}
		if amount == (budget.Amount{}) {
			continue
		}
		if sums == nil {
			sums = make(map[account]int, 2*len(budget.Periods))
		}
		arrived := w.row.Time.In(w.zone)
		for _, period := range budget.Periods {
			start := period.Start(arrived)
			for _, owner := range [...]budget.Owner{{Kind: budget.Key, ID: w.row.KeyID}, {Kind: budget.Project, ID: w.row.ProjectID}} {
				of := account{owner, period, start.UnixMicro()}
				i, known := sums[of]
				if !known {
					i = len(list)
					sums[of] = i
					list = append(list, budget.Spend{Owner: owner, Period: period, Start: time.UnixMicro(of.start).UTC()})
				}
				list[i].Amount = list[i].Amount.Add(amount)
			}
		}
	}
	return list
}

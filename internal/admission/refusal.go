package admission

import (
	"fmt"
	"strconv"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
)

// tooLittle refuses a request that doesn't fit into what is unspent of a budget.
func (n need) tooLittle(l budget.Limit, unspent int64) error {
	period := "per " + string(l.Period)
	if l.Period == budget.Total {
		period = "in total"
	}
	e := apierror.New(apierror.BudgetExceeded, fmt.Sprintf(
		"the %s's budget of %s %s leaves too little for this request: %s of it are left, and the request may use %s",
		l.Owner.Kind, inWords(l.Unit, l.Hard), period, inWords(l.Unit, max(unspent, 0)), inWords(l.Unit, n.amount(n.least).In(l.Unit)),
	))
	if l.Owner.Kind == budget.Run {
		e.Param = budget.RunParam
	}
	return e
}

// held refuses a request that fits as soon as others have ended.
func held(l budget.Limit) error {
	return &apierror.Error{
		Category: apierror.BudgetExceeded, RetryAfter: heldRetry,
		Message: fmt.Sprintf("the %s's budget of %s is held by requests that are running", l.Owner.Kind, inWords(l.Unit, l.Hard)),
	}
}

func inWords(u budget.Unit, amount int64) string {
	if u == budget.USD {
		return strconv.FormatFloat(float64(amount)/1e6, 'f', -1, 64) + " USD"
	}
	return strconv.FormatInt(amount, 10) + " tokens"
}

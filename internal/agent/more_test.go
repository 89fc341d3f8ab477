package agent_test

import "claude-code-api-service/internal/budget"

var spentBudget = []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: "key_1"}, Period: budget.Total, Unit: budget.USD, Hard: 1}}

package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// usd is an amount in millionths of a US dollar. As a flag it is written in
// dollars, 12.50, and read exactly.
type usd int64

const (
	microsPerDollar = 1_000_000
	dollarDigits    = 6 // behind the point
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *usd) UnmarshalText(text []byte) error {
	whole, part, pointed := strings.Cut(string(text), ".")
	if whole == "" || pointed && part == "" || !digits(whole) || !digits(part) {
		return errors.New("must be an amount in US dollars, such as 12.50")
	}
	if len(part) > dollarDigits {
		return errors.New("must have at most 6 digits behind the point: millionths of a dollar are counted")
	}
	micros, err := strconv.ParseInt(whole+part+strings.Repeat("0", dollarDigits-len(part)), 10, 64)
	if err != nil {
		return errors.New("is too much")
	}
	*u = usd(micros)
	return nil
}

func digits(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}

// String gives the amount in dollars with all digits.
func (u usd) String() string {
	sign, n := "", uint64(u)
	if u < 0 {
		sign, n = "-", uint64(-(u+1))+1
	}
	whole, part := n/microsPerDollar, n%microsPerDollar
	text := strconv.FormatUint(microsPerDollar+part, 10)
	return sign + strconv.FormatUint(whole, 10) + "." + text[1:]
}

// leastDigits are those of whole cents.
const leastDigits = 2

// digits gives how many digits behind the point the amount needs: from 2, without
// the zeros that say nothing, to 6.
func (u usd) digits() int {
	text := u.String()
	part := strings.TrimRight(text[len(text)-dollarDigits:], "0")
	return max(len(part), leastDigits)
}

// text writes the amount with so many digits behind the point, or as many as it
// needs.
func (u usd) text(digits int) string {
	text := u.String()
	return text[:len(text)-dollarDigits+max(digits, u.digits())]
}

// short leaves out the zeros that say nothing: 12.50 and 0.000123.
func (u usd) short() string { return u.text(0) }

// usdLimit is an amount of which 0 means that there is no limit.
type usdLimit usd

// dollars gives an amount that the service tells in US dollars; nil where it isn't known.
func dollars(amount *float64) any {
	if amount == nil {
		return nil
	}
	return usd(math.Round(*amount * 1e6))
}

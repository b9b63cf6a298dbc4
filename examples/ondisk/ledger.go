package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/castaway-go/castaway/actors"
)

// This file is what the ledger does; where it keeps that is in disk.go.

// posting adds an amount to an account, or takes it away.
type posting struct {
	account string
	amount  int64
}

const maxAccount = 200 // bytes of a name

// parse reads a command: a posting a line, with the account and the amount.
func parse(command []byte) (postings []posting, err error) {
	for line := range bytes.Lines(command) {
		words := bytes.Fields(line)
		if len(words) != 2 || len(words[0]) > maxAccount {
			return nil, fmt.Errorf("%.100q is not an account and an amount", line)
		}
		amount, err := strconv.ParseInt(string(words[1]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%.100q is not an amount", words[1])
		}
		postings = append(postings, posting{string(words[0]), amount})
	}
	if len(postings) == 0 {
		return nil, errors.New("there is nothing to post")
	}
	return postings, nil
}

// Apply posts all lines of a command or none, and answers with the balance of the last
// line's account. An account must not fall below zero.
func (l *ledger) Apply(e actors.Entry) []byte {
	balance, err := l.post(e.Data)
	if err != nil {
		return fmt.Append(nil, refused, err)
	}
	return strconv.AppendInt(nil, balance, 10)
}

// refused begins the answer to a command that has changed nothing.
const refused = "refused: "

func (l *ledger) post(command []byte) (balance int64, err error) {
	postings, err := parse(command)
	if err != nil {
		return 0, err
	}
	after := map[string]int64{}
	for _, p := range postings {
		now, changed := after[p.account]
		if !changed {
			now = l.balance(p.account)
		}
		if p.amount > 0 && now > math.MaxInt64-p.amount || p.amount < 0 && now < math.MinInt64-p.amount {
			return 0, fmt.Errorf("%s has %d, and %+d would be too much", p.account, now, p.amount)
		}
		balance = now + p.amount
		after[p.account] = balance
	}
	for _, p := range postings {
		if after[p.account] < 0 {
			return 0, fmt.Errorf("%s has too little", p.account)
		}
	}
	for account, balance := range after {
		l.changed[account] = balance
	}
	return balance, nil
}

var errBadAccount = fmt.Errorf("an account has a name of 1 to %d bytes, and no space in it", maxAccount)

// Query answers with the balance of an account.
func (l *ledger) Query(_ context.Context, question []byte) ([]byte, error) {
	account := string(question)
	if account == "" || len(account) > maxAccount || strings.ContainsAny(account, " \t\r\n") {
		return nil, errBadAccount
	}
	balance, err := l.saved(account)
	return strconv.AppendInt(nil, balance, 10), err
}

// balance is what an account has, also by commands that are not saved. Whoever applies a
// command cannot go on without it.
func (l *ledger) balance(account string) int64 {
	if balance, changed := l.changed[account]; changed {
		return balance
	}
	balance, err := l.saved(account)
	if err != nil {
		panic(diskFailed(err))
	}
	return balance
}

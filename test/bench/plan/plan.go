// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plan says what the benchmark does in which order.
//
// A plan is text. Its parts are separated by semicolons; each begins with how many rounds it has, and lists its turns, separated by commas. A turn
// is an actor and the steps that it takes, each NAME or NAME=NUMBER:
//
//	3 design single=20 purge, least single=20 purge, product single=20 purge; 1 product fill=500 restart forget
package plan

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/test/bench/result"
)

// Part is turns that are taken in rounds, so that the machine's moods touch all of them.
type Part struct {
	Rounds int
	Turns  []Turn
}

// Turn is what one actor does.
type Turn struct {
	Actor string
	Steps []Step
}

// Step is one measurement, with its number.
type Step struct {
	Name string
	N    int
}

// String is the step as a plan has it.
func (s Step) String() string { return fmt.Sprintf("%s=%d", s.Name, s.N) }

// Named are the plans that have a name.
func Named(name string) (string, bool) {
	plans := map[string]string{"short": short, "long": long}
	text, known := plans[name]
	return text, known
}

// short is meant to take ten minutes on two cores that do nothing else.
const short = `
3 design  single=20 closed=60 burst=80 end=5 finish=60 purge,
  least   single=20 closed=60 burst=80 end=5 finish=60 purge,
  product single=20 closed=60 burst=80 end=5 finish=60 purge;
1 design  plant=100 reap purge,
  least   plant=100 forget,
  product reap purge;
1 design  fill=200 freeze purge,
  least   fill=200 forget,
  product adopt freeze purge;
1 least   fill=300 forget,
  product adopt single=20 burst=60 ripple=3 restart policies=50 forget;
1 product decide=2000`

// long has every row of docs/performance.md. The standing grants are made once, by the quickest actor, and what is measured beside them comes last.
const long = `
3 three   single=60 closed=300 purge,
  design  single=60 approved=40 closed=300 burst=1000 end=50 finish=200 purge,
  least   single=60 approved=40 closed=300 burst=1000 end=50 finish=200 purge,
  product single=60 asked=40 approved=40 closed=300 burst=1000 end=50 finish=200 purge;
3 design  plant=1000 reap purge,
  least   plant=1000 reap purge,
  least   plant=1000 forget,
  product reap purge;
1 design  plant=5000 reap purge,
  least   plant=5000 reap purge,
  least   plant=5000 forget,
  product reap purge;
3 design  fill=500 freeze purge,
  least   fill=500 freeze purge,
  least   fill=500 forget,
  product adopt freeze purge;
3 product rest=30 ripple=5 restart accounts=500 purge;
1 product decide=2000;
1 product single=60 roles=1000 crowd=50000 purge;
1 least   fill=10000 forget;
3 product adopt rest=30 single=60 burst=300 ripple=5 restart forget;
1 product adopt policies=300 forget`

// Parse reads a plan.
func Parse(text string) ([]Part, error) {
	var parts []Part
	for _, words := range strings.Split(text, ";") {
		count, turns, _ := strings.Cut(strings.TrimSpace(words), " ")
		rounds, err := strconv.Atoi(count)
		if err != nil || rounds < 1 {
			return nil, fmt.Errorf("%q: want a number of rounds, and turns behind it", strings.TrimSpace(words))
		}
		part := Part{Rounds: rounds}
		for _, turn := range strings.Split(turns, ",") {
			parsed, err := parseTurn(turn)
			if err != nil {
				return nil, err
			}
			part.Turns = append(part.Turns, parsed)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func parseTurn(text string) (Turn, error) {
	words := strings.Fields(text)
	actors := []string{result.Design, result.Least, result.Three, result.Product}
	if len(words) < 2 || !slices.Contains(actors, words[0]) {
		return Turn{}, fmt.Errorf("turn %q: want one of %s, and steps behind it", strings.TrimSpace(text), strings.Join(actors, ", "))
	}
	turn := Turn{Actor: words[0]}
	for _, word := range words[1:] {
		name, number, given := strings.Cut(word, "=")
		step := Step{Name: name}
		if given {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 {
				return Turn{}, errors.New(word + ": want NAME or NAME=NUMBER")
			}
			step.N = n
		}
		turn.Steps = append(turn.Steps, step)
	}
	return turn, nil
}

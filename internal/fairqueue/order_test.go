// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// entry is an item that waits, as the model of the test remembers it.
type entry struct {
	item     reconcile.Request
	priority int
}

// model is what is true of an order, kept in the plainest way.
type model struct {
	*testing.T
	workers int
	// waiting is in the order in which items came.
	waiting []entry
	// worked are the items that are being worked on, and priorities those with which they were taken.
	worked     []reconcile.Request
	priorities []int
	// passed counts how often a namespace was served while another one waited in the same priority and could have been.
	passed map[[2]line3]int
}

// line3 is a namespace within a priority.
type line3 struct {
	namespace string
	priority  int
}

func (m *model) busy(namespace string) int {
	busy := 0
	for _, item := range m.worked {
		if item.Namespace == namespace {
			busy++
		}
	}
	return busy
}

// mayHave: a namespace may have another worker for what has this priority.
func (m *model) mayHave(namespace string, priority int) bool {
	behind, here := 0, 0
	for i := range m.worked {
		if m.priorities[i] < 0 {
			behind++
			if m.worked[i].Namespace == namespace {
				here++
			}
		}
	}
	if priority < 0 && (behind >= max(1, m.workers/2) || here >= max(1, m.workers/8)) {
		return false
	}
	return m.busy(namespace) == 0 || m.busy(namespace) < m.workers-len(m.worked)
}

// took looks whether an item was the right one.
func (m *model) took(item reconcile.Request) {
	m.Helper()
	at := slices.IndexFunc(m.waiting, func(e entry) bool { return e.item == item })
	if at < 0 || slices.Contains(m.worked, item) {
		m.Fatalf("%v does not wait", item)
	}
	taken := m.waiting[at]
	if !m.mayHave(item.Namespace, taken.priority) {
		m.Fatalf(
			"%s has %d workers and gets another, of %d that are free",
			item.Namespace,
			m.busy(item.Namespace),
			m.workers-len(m.worked),
		)
	}
	own := line3{item.Namespace, taken.priority}
	for i, other := range m.waiting {
		theirs := line3{other.item.Namespace, other.priority}
		switch {
		case theirs == own && i < at:
			m.Fatalf("%v came before %v", other.item, item)
		case other.priority > taken.priority && m.mayHave(theirs.namespace, theirs.priority):
			m.Fatalf("%v is served before %v, which has a higher priority", item, other.item)
		}
	}
	m.count(own)
	m.waiting = slices.Delete(m.waiting, at, at+1)
	m.worked, m.priorities = append(m.worked, item), append(m.priorities, taken.priority)
}

// done gives back the worker of one that is worked on.
func (m *model) done(o *order, i int) {
	o.done(m.worked[i])
	m.worked, m.priorities = slices.Delete(m.worked, i, i+1), slices.Delete(m.priorities, i, i+1)
}

// count notes that a line was served, and who had to watch.
func (m *model) count(own line3) {
	m.Helper()
	watched := map[line3]bool{}
	for _, other := range m.waiting {
		theirs := line3{other.item.Namespace, other.priority}
		if theirs == own || theirs.priority != own.priority || watched[theirs] || !m.mayHave(theirs.namespace, theirs.priority) {
			continue
		}
		watched[theirs] = true
		if m.passed[[2]line3{theirs, own}]++; m.passed[[2]line3{theirs, own}] > 1 {
			m.Fatalf("%v is served a second time while %v waits", own, theirs)
		}
	}
	for pair := range m.passed {
		if pair[0] == own {
			delete(m.passed, pair)
		}
	}
}

// left forgets the turn of a line in which nothing waits any more.
func (m *model) left(l line3) {
	if slices.ContainsFunc(
		m.waiting,
		func(e entry) bool { return e.item.Namespace == l.namespace && e.priority == l.priority },
	) {
		return
	}
	for pair := range m.passed {
		if pair[0] == l {
			delete(m.passed, pair)
		}
	}
}

// TestOrder_HoldsWhateverIsAddedAndTaken adds, raises, takes and gives back items at random, and looks at each that
// is taken.
func TestOrder_HoldsWhateverIsAddedAndTaken(t *testing.T) {
	const seeds, steps = 300, 400
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			m := &model{T: t, workers: 1 + random.IntN(40), passed: map[[2]line3]int{}}
			o := newOrder(m.workers)
			for range steps {
				switch random.IntN(5) {
				case 0, 1:
					add(m, o, random)
				case 2, 3:
					if len(m.worked) < m.workers && o.Len() > 0 {
						m.took(o.Pop())
					} else if len(m.worked) < m.workers {
						m.nothingToTake()
					}
				default:
					if len(m.worked) == 0 {
						continue
					}
					m.done(o, random.IntN(len(m.worked)))
				}
			}
			m.drain(o)
		})
	}
}

// add is what client-go's queue does with an item: it pushes one that does not wait, and touches one that does.
func add(m *model, o *order, random *rand.Rand) {
	item := reconcile.Request{
		NamespacedName: types.NamespacedName{
			Namespace: string(rune('a' + random.IntN(5))),
			Name:      fmt.Sprint(random.IntN(40)),
		},
	}
	priority := random.IntN(3) - 2
	at := slices.IndexFunc(m.waiting, func(e entry) bool { return e.item == item })
	switch {
	case slices.Contains(m.worked, item):
	case at < 0:
		o.want(item, priority)
		o.Push(item)
		m.waiting = append(m.waiting, entry{item, priority})
	default:
		o.want(item, priority)
		o.Touch(item)
		if before := m.waiting[at]; priority > before.priority {
			m.waiting = append(slices.Delete(m.waiting, at, at+1), entry{item, priority})
			m.left(line3{item.Namespace, before.priority})
		}
	}
}

// nothingToTake: where nothing is handed out, nothing may be.
func (m *model) nothingToTake() {
	m.Helper()
	for _, e := range m.waiting {
		if m.mayHave(e.item.Namespace, e.priority) {
			m.Fatalf("%v waits, and nothing is handed out", e.item)
		}
	}
}

// drain works on all that is left: each that is done makes room for what waits.
func (m *model) drain(o *order) {
	m.Helper()
	for len(m.waiting) > 0 || len(m.worked) > 0 {
		for len(m.worked) < m.workers && o.Len() > 0 {
			m.took(o.Pop())
		}
		m.nothingToTakeUnlessBusy()
		m.done(o, 0)
	}
	if len(o.levels)+len(o.waiting)+len(o.worked)+len(o.busy)+len(o.patient)+o.behind+len(o.wanted) > 0 {
		m.Errorf("something is left: %+v", o)
	}
}

func (m *model) nothingToTakeUnlessBusy() {
	m.Helper()
	if len(m.worked) == 0 {
		m.Fatalf("nothing is worked on, and %d items wait for ever", len(m.waiting))
	}
	if len(m.worked) < m.workers {
		m.nothingToTake()
	}
}

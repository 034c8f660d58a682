// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"cmp"
	"container/list"
	"slices"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// order is which of the waiting items is next. It is the storage of a client-go work queue, which calls Push,
// Touch, Len and Pop under a lock of its own; its other methods are called from anywhere.
type order struct {
	mu      sync.Mutex
	workers int
	// levels are the priorities that have something waiting, the highest first.
	levels []*level
	// waiting says where each waiting item stands.
	waiting map[reconcile.Request]place
	// wanted is the priority of items that were added and have not been pushed yet.
	wanted map[reconcile.Request]int
	// worked holds the items that are being worked on, with their priorities. busy counts them by namespace, and patient
	// those of them whose priority is below 0; behind is how many of these there are.
	worked        map[reconcile.Request]int
	busy, patient map[string]int
	behind        int
	// held is set while something waits that was held back once because its namespace had enough workers. Nobody is
	// woken for it when the namespace may have another: see wakes.
	held bool
	// idle is how many workers wait for an item.
	idle int
	// waking is set while wakeUp is in the queue.
	waking bool
}

// wakeUp is no item of anybody's. It is added to wake a worker.
var wakeUp = reconcile.Request{}

// level is a priority. Its turns are lines of namespaces, in the order in which they are served.
type level struct {
	priority int
	turns    *list.List
	lines    map[string]*list.Element
}

// line is what waits in one namespace, in the order in which it came.
type line struct {
	namespace string
	items     *list.List
}

type place struct {
	at   *level
	turn *list.Element
	item *list.Element
}

func newOrder(workers int) *order {
	return &order{workers: workers, waiting: map[reconcile.Request]place{}, wanted: map[reconcile.Request]int{},
		worked: map[reconcile.Request]int{}, busy: map[string]int{}, patient: map[string]int{}}
}

// want notes the priority of an item that is about to be added.
func (o *order) want(item reconcile.Request, priority int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now, known := o.wanted[item]; !known || now < priority {
		o.wanted[item] = priority
	}
}

// waits notes that a worker waits for an item, or does not any more.
func (o *order) waits(by int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.idle += by
}

// wakes reports whether a worker has to be woken by wakeUp. client-go's queue wakes one for each item that is
// added. An item that is held back then has spent its wake-up when its namespace may have another worker.
func (o *order) wakes() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.held || o.waking || o.idle == 0 {
		return false
	}
	_, found := o.next()
	return found
}

// Push adds an item at the end of its namespace's line.
func (o *order) Push(item reconcile.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if item == wakeUp {
		o.waking = true
		return
	}
	o.push(item, o.wanted[item])
	delete(o.wanted, item)
}

// Touch moves an item that waits, and was added again with a higher priority, to the end of that one's line.
func (o *order) Touch(item reconcile.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	wanted, known := o.wanted[item]
	delete(o.wanted, item)
	if at, waits := o.waiting[item]; known && waits && wanted > at.at.priority {
		o.take(at)
		o.push(item, wanted)
	}
}

// Len is how many items wait; 0 when none of them may be handed out now.
func (o *order) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, found := o.next(); !found && !o.waking {
		return 0
	}
	return max(len(o.waiting), 1)
}

// Pop takes the next item. It is called only if Len was not 0.
func (o *order) Pop() reconcile.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waking {
		o.waking = false
		return wakeUp
	}
	next, _ := o.next()
	item := o.take(next)
	o.held = o.held && len(o.waiting) > 0
	if next.turn.Value.(line).items.Len() > 0 {
		next.at.turns.MoveToBack(next.turn)
	}
	o.worked[item] = next.at.priority
	o.busy[item.Namespace]++
	if next.at.priority < 0 {
		o.patient[item.Namespace]++
		o.behind++
	}
	return item
}

// done notes that an item is not worked on any more.
func (o *order) done(item reconcile.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.worked[item] < 0 {
		fewer(o.patient, item.Namespace)
		o.behind--
	}
	delete(o.worked, item)
	fewer(o.busy, item.Namespace)
}

func fewer(of map[string]int, namespace string) {
	if of[namespace]--; of[namespace] <= 0 {
		delete(of, namespace)
	}
}

// priorityOf is the priority that an item which is being worked on had.
func (o *order) priorityOf(item reconcile.Request) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.worked[item]
}

// next is the first item of the first line, in the highest priority, whose namespace may be given another worker.
func (o *order) next() (place, bool) {
	free := o.workers - len(o.worked)
	for _, at := range o.levels {
		for turn := at.turns.Front(); turn != nil; turn = turn.Next() {
			waits := turn.Value.(line)
			// Whoever asks is free. A namespace gets another worker only while more are free than it has: others
			// that come find some.
			if busy := o.busy[waits.namespace]; (busy == 0 || busy < free) && (at.priority >= 0 || o.mayWait(waits.namespace)) {
				return place{at: at, turn: turn, item: waits.items.Front()}, true
			}
			o.held = true
		}
	}
	return place{}, false
}

// mayWait reports whether another worker may be given to what can wait in a namespace. There is one at the least.
func (o *order) mayWait(namespace string) bool {
	return o.behind < max(1, o.workers/2) && o.patient[namespace] < max(1, o.workers/8)
}

func (o *order) push(item reconcile.Request, priority int) {
	at := o.level(priority)
	turn, known := at.lines[item.Namespace]
	if !known {
		turn = at.turns.PushBack(line{namespace: item.Namespace, items: list.New()})
		at.lines[item.Namespace] = turn
	}
	o.waiting[item] = place{at: at, turn: turn, item: turn.Value.(line).items.PushBack(item)}
}

// take removes an item from its line, and what is empty then.
func (o *order) take(from place) reconcile.Request {
	waits := from.turn.Value.(line)
	item := waits.items.Remove(from.item).(reconcile.Request)
	delete(o.waiting, item)
	if waits.items.Len() == 0 {
		from.at.turns.Remove(from.turn)
		delete(from.at.lines, waits.namespace)
	}
	if from.at.turns.Len() == 0 {
		o.levels = slices.DeleteFunc(o.levels, func(l *level) bool { return l == from.at })
	}
	return item
}

// level finds or makes the one of a priority.
func (o *order) level(priority int) *level {
	highestFirst := func(l *level, priority int) int { return cmp.Compare(priority, l.priority) }
	i, found := slices.BinarySearchFunc(o.levels, priority, highestFirst)
	if !found {
		made := &level{priority: priority, turns: list.New(), lines: map[string]*list.Element{}}
		o.levels = slices.Insert(o.levels, i, made)
	}
	return o.levels[i]
}

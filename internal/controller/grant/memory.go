// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/controller/stored"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/provider"
)

// memory is what this process itself did and saw for one grant. Nothing that must survive is kept here: after a restart the
// facts are looked at again, and an attempt that another process began is never gone on with.
type memory struct {
	lifecycle.AttemptFacts
	// step is the container that is given the credential.
	step string
	// template of the Job's Pod as it was reviewed, within a pass: a Job can be large, and grants are many.
	template *corev1.PodTemplateSpec
	// credential that this process minted and has not delivered.
	credential *provider.Credential
	// asked is set once the back end was asked for the attempt that this process began.
	asked bool
	// answer of the back end that was not heard yet. The controller's lock guards it.
	answer *answer
	// keeping is the handle that the back end waits for to be stored. The controller's lock guards it.
	keeping *keeping
	// requested is when the request was made, if that was seen.
	requested *metav1.Time
	// issuedAt is when it was minted.
	issuedAt time.Time
	// stopping is why the grant stops, as this process recorded it.
	stopping string
	// cleared is set once this process deleted the Secrets of a grant that stops.
	cleared bool
	// unstored counts how often somebody else wrote the grant while its end was to be stored.
	unstored int
	// writes counts how often the API server refused the present write. recorded is the last attempt whose credential is in
	// the audit log, and failed the last whose failure is.
	writes, recorded, failed int32
	// revokeFailures counts how often what was issued was not all ended.
	revokeFailures int32
	// revocation is what this process recorded of the back end's answer.
	revocation *v1alpha1.Revocation
	// unsaid is what the back end answered, and is stored with the next write.
	unsaid []func(*v1alpha1.CapabilityGrantStatus)
	// written is the grant as this process's own write left it, until the cache shows that or a later state.
	written *v1alpha1.CapabilityGrant
	// shown is the resourceVersion in which the cache last showed the grant, and claim the one in which this process
	// stored the attempt that it began.
	shown, claim string
	// job is the Job as this process's own patch left it, until the cache shows that.
	job *batchv1.Job
	// inputs are the copies that the grant makes of the ConfigMaps that were approved.
	inputs []inputCopy
	// pods that were seen, by UID.
	pods map[types.UID]*lifecycle.PodFacts
	// released are the Pods that this process let go, by UID, whatever the cache shows.
	released map[types.UID]bool
	// permitted is set while the last look found that the grant may live, and sight is what it saw.
	permitted bool
	sight     observe.Sight
	// catalogue is what the last look saw of the capability and its provider.
	catalogue catalogue
	// passing is set while an earlier step of the same pass found that the grant may be issued.
	passing bool
	// met is set once this process looked at the grant.
	met bool
	// looked reports whether the API server itself was asked for Pods that the watch did not show.
	looked bool
	// watched is what the watch showed of Pods last, by UID. The controller's lock guards it.
	watched map[types.UID]*watchedPod
}

// catalogue tells one state of a capability and its provider from all others.
type catalogue [2]struct {
	uid        types.UID
	generation int64
}

func catalogueOf(capability *v1alpha1.Capability, provider *v1alpha1.CapabilityProvider) (of catalogue) {
	if capability != nil && provider != nil {
		of[0].uid, of[0].generation = capability.UID, capability.Generation
		of[1].uid, of[1].generation = provider.UID, provider.Generation
	}
	return of
}

// passed forgets what was found out in a pass alone.
func (m *memory) passed() { m.passing, m.template = false, nil }

// sayLater has the next write store what the back end answered. The same answer, given again and again, is kept once.
func (m *memory) sayLater(g *v1alpha1.CapabilityGrant, change func(*v1alpha1.CapabilityGrantStatus)) {
	before := g.Status.DeepCopy()
	change(&g.Status)
	if !equality.Semantic.DeepEqual(*before, g.Status) {
		m.unsaid = append(m.unsaid, change)
	}
}

// newest is a copy of the grant in its latest known state. What this process stored is not taken to be undone because the cache does not
// show it yet: it would be done, and recorded, twice.
func (m *memory) newest(cached *v1alpha1.CapabilityGrant) *v1alpha1.CapabilityGrant {
	m.shown = cached.ResourceVersion
	newest := cached
	if m.written != nil {
		if newest = stored.Newest(cached, m.written); newest == cached {
			m.written = nil
		}
	}
	newest = newest.DeepCopy()
	for _, change := range m.unsaid {
		change(&newest.Status)
	}
	return newest
}

// showsClaim reports whether the cache shows the attempt that this process began, and so all that was stored before it.
func (m *memory) showsClaim() bool {
	order, err := resourceversion.CompareResourceVersion(m.shown, m.claim)
	return err == nil && order >= 0
}

// atRest: the back end is being asked, or is not to be asked before a time. What is costly to find out, and decides about the next
// step of issuing alone, need not be known.
func (m *memory) atRest(now time.Time) bool {
	return m.Minting || m.Failure.Message != "" && now.Before(m.NotBefore)
}

type watchedPod struct {
	job   types.UID
	facts lifecycle.PodFacts
}

// remembered is a map with one more entry. There is one for each grant that lives, and most stay empty.
func remembered[V any](all map[types.UID]V, uid types.UID, value V) map[types.UID]V {
	if all == nil {
		all = map[types.UID]V{}
	}
	all[uid] = value
	return all
}

// Saw takes note of what the watch shows of a Pod, its last state as it goes included: the cache has forgotten a Pod that a
// kubelet reported as ended and removed before anybody looked.
func (c *Controller) Saw(pod *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mem, owner := c.memory[types.UID(pod.Annotations[v1alpha1.AnnotationGrant])], metav1.GetControllerOf(pod)
	if mem == nil || owner == nil {
		return
	}
	before := mem.watched[pod.UID]
	if before == nil {
		before = &watchedPod{}
	}
	mem.watched = remembered(mem.watched, pod.UID, &watchedPod{job: owner.UID, facts: podFacts(pod, before.facts, mem.step)})
}

// sawOf is what the watch showed last of a Job's Pods.
func (c *Controller) sawOf(mem *memory, job types.UID) map[types.UID]lifecycle.PodFacts {
	c.mu.Lock()
	defer c.mu.Unlock()
	facts := map[types.UID]lifecycle.PodFacts{}
	for uid, pod := range mem.watched {
		if pod.job == job {
			facts[uid] = pod.facts
		}
	}
	return facts
}

func (c *Controller) recall(g *v1alpha1.CapabilityGrant) *memory {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory == nil {
		c.memory, c.byName = map[types.UID]*memory{}, map[types.NamespacedName]types.UID{}
	}
	name := types.NamespacedName{Namespace: g.Namespace, Name: g.Name}
	if uid := c.byName[name]; uid != g.UID {
		delete(c.memory, uid)
	}
	c.byName[name] = g.UID
	if c.memory[g.UID] == nil {
		c.memory[g.UID] = &memory{step: g.Spec.Job.Container}
	}
	return c.memory[g.UID]
}

func (c *Controller) forget(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.memory, c.byName[name])
	delete(c.byName, name)
}

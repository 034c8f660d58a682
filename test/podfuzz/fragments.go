// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package podfuzz

import (
	"maps"
	"slices"
)

// addFragment adds something to the Pod template that takes more than one field to be valid.
func (g *Generator) addFragment(jobSpec map[string]any) {
	template, _ := jobSpec["template"].(map[string]any)
	pod, _ := template["spec"].(map[string]any)
	if pod == nil {
		return
	}
	pick(g, []func(map[string]any){g.addVolume, g.addVolume, g.addVolume, g.addInit, g.addContainer, g.addProbe, g.addHook, g.addVariable,
		g.addVariable, g.addDevice, g.addSecurity})(pod)
}

// addVolume adds a volume of any kind, and mounts it into one container.
func (g *Generator) addVolume(pod map[string]any) {
	source := g.schemas["io.k8s.api.core.v1.Volume"]
	kind := pick(g, sortedProperties(source))
	if kind == "name" {
		kind = "emptyDir"
	}
	property := source.Properties[kind]
	name := pick(g, g.words.Volumes)
	pod["volumes"] = append(list(pod, "volumes"), map[string]any{"name": name, kind: g.value(&property, kind, 0)})
	mount := map[string]any{"name": name, "mountPath": g.word("mountPath")}
	if g.oneIn(3) {
		g.changeObject(mount, g.schemas["io.k8s.api.core.v1.VolumeMount"])
	}
	if c := g.container(pod); c != nil {
		c["volumeMounts"] = append(list(c, "volumeMounts"), mount)
	}
}

func (g *Generator) addInit(pod map[string]any) {
	c := g.newContainer("init")
	if g.oneIn(2) {
		c["restartPolicy"] = "Always"
	}
	pod["initContainers"] = append(list(pod, "initContainers"), c)
}

func (g *Generator) addContainer(pod map[string]any) {
	pod["containers"] = append(list(pod, "containers"), g.newContainer("more"))
}

func (g *Generator) newContainer(name string) map[string]any {
	c := map[string]any{"name": name, "image": g.word("image"), "command": []any{"/run"}}
	if g.oneIn(2) {
		g.changeObject(c, g.schemas["io.k8s.api.core.v1.Container"])
	}
	return c
}

func (g *Generator) addProbe(pod map[string]any) {
	c := g.container(pod)
	if c == nil {
		return
	}
	probe := g.handler()
	if g.oneIn(2) {
		g.changeObject(probe, g.schemas["io.k8s.api.core.v1.Probe"])
	}
	c[pick(g, []string{"livenessProbe", "readinessProbe", "startupProbe"})] = probe
}

func (g *Generator) addHook(pod map[string]any) {
	if c := g.container(pod); c != nil {
		c["lifecycle"] = map[string]any{pick(g, []string{"preStop", "postStart", "stopSignal"}): g.handler()}
	}
}

func (g *Generator) handler() map[string]any {
	return maps.Clone(pick(g, []map[string]any{
		{"exec": map[string]any{"command": []any{"/sleep", "3000"}}},
		{"httpGet": map[string]any{"port": int64(8080), "host": g.word("host")}},
		{"httpGet": map[string]any{"port": int64(8080)}},
		{"tcpSocket": map[string]any{"port": int64(8080)}},
		{"sleep": map[string]any{"seconds": pick(g, numbers)}},
		{"grpc": map[string]any{"port": int64(8080)}},
	}))
}

// addVariable adds one that is read from something.
func (g *Generator) addVariable(pod map[string]any) {
	c := g.container(pod)
	if c == nil {
		return
	}
	if g.oneIn(3) {
		source := g.schemas["io.k8s.api.core.v1.EnvFromSource"]
		c["envFrom"] = append(list(c, "envFrom"), g.value(source, "envFrom", 0))
		return
	}
	source := g.schemas["io.k8s.api.core.v1.EnvVarSource"]
	c["env"] = append(list(c, "env"), map[string]any{"name": "A", "valueFrom": g.value(source, "valueFrom", 0)})
}

func (g *Generator) addDevice(pod map[string]any) {
	claim := g.value(g.schemas["io.k8s.api.core.v1.PodResourceClaim"], "resourceClaims", 0)
	pod["resourceClaims"] = append(list(pod, "resourceClaims"), claim)
	if c, named := claim.(map[string]any), g.container(pod); named != nil {
		named["resources"] = map[string]any{"claims": []any{map[string]any{"name": c["name"]}}}
	}
}

func (g *Generator) addSecurity(pod map[string]any) {
	if c := g.container(pod); c != nil && g.oneIn(2) {
		c["securityContext"] = g.value(g.schemas["io.k8s.api.core.v1.SecurityContext"], "securityContext", 0)
		return
	}
	pod["securityContext"] = g.value(g.schemas["io.k8s.api.core.v1.PodSecurityContext"], "securityContext", 0)
}

// container is one of the Pod's, of any kind; nil if what was generated is none.
func (g *Generator) container(pod map[string]any) map[string]any {
	all := slices.Concat(list(pod, "containers"), list(pod, "initContainers"))
	if len(all) == 0 {
		return nil
	}
	c, _ := pick(g, all).(map[string]any)
	return c
}

func list(object map[string]any, name string) []any {
	values, _ := object[name].([]any)
	return values
}

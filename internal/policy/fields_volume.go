// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// volumeFields are the kinds of volumes. Those that a node mounts from elsewhere without a driver of their own are refused: they can be
// another's with each mount, and hold up the node.
func volumeFields() []Field {
	const elsewhere = "a node mounts it from elsewhere; use a PersistentVolumeClaim, which a policy can accept"
	return slices.Concat(
		of("Volume",
			harmless("it tells volumes apart, and each line says whose it is", "name"),
			anyStep(reviewed(Content, "what the Pod's containers write there", "emptyDir")),
			anyStep(reviewed(Content, "see its own fields", "downwardAPI", "projected")),
			input("a ConfigMap can change: the grant copies what was reviewed", "configMap"),
			input("a Secret can change", "secret"),
			input("an image that is not named by digest can be another one", "image"),
			input("what is on it can change", "persistentVolumeClaim"),
			input("a driver decides what is on it", "csi", "ephemeral"),
			refused("it is a file or folder of the node", "hostPath"),
			refused("a node would run git for it", "gitRepo"),
			refused(elsewhere, "gcePersistentDisk", "awsElasticBlockStore", "nfs", "iscsi", "glusterfs", "rbd", "flexVolume", "cinder",
				"cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk", "photonPersistentDisk", "portworxVolume",
				"scaleIO", "storageos"),
		),
		of("EmptyDirVolumeSource", anyStep(among(reviewed(Content, "where it lies", "medium"), "", "Memory", "HugePages*")),
			anyStep(reviewed(Content, "how large it is, and who may write there", "sizeLimit", "mode"))),
		of("ConfigMapVolumeSource", reviewed(Content, "what it reads", "name", "items"), files()),
		of("SecretVolumeSource", reviewed(Content, "what it reads", "secretName", "items"), files()),
		of("KeyToPath", reviewed(Content, "what it reads", "key", "path"), rest("who may read it", "mode", "user")),
		of("PersistentVolumeClaimVolumeSource", input("what is on it can change", "claimName"), rest("whether it can write there", "readOnly")),
		of("CSIVolumeSource", input("a driver decides what is on it", "driver", "volumeAttributes", "nodePublishSecretRef"),
			rest("how it is mounted", "readOnly", "fsType")),
		of("EphemeralVolumeSource", input("a driver decides what is on it", "volumeClaimTemplate")),
		of("PersistentVolumeClaimTemplate", input("a driver decides what is on it", "metadata", "spec")),
		of("PersistentVolumeClaimSpec", input("a driver decides what is on it", "selector", "resources", "volumeName",
			"storageClassName", "dataSource", "dataSourceRef", "volumeAttributesClassName"),
			among(rest("how it is mounted", "accessModes"), "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"),
			unless(among(rest("how it is mounted", "volumeMode"), "Filesystem", "Block"), "Filesystem")),
		of("VolumeResourceRequirements", rest("how large it is", "limits", "requests")),
		of("TypedLocalObjectReference", input("what is on it can change", "apiGroup", "kind", "name")),
		of("TypedObjectReference", input("what is on it can change", "apiGroup", "kind", "name", "namespace")),
		of("ImageVolumeSource", reviewed(Content, "what it reads", "reference"),
			only("pullPolicy", "the kubelet would ask its registry at every step, and look at no deadline meanwhile", "IfNotPresent", "Never")),
		of("DownwardAPIVolumeSource", anyStep(reviewed(Content, "see its own fields", "items")), modes()),
		of("DownwardAPIVolumeFile", reviewed(Content, "what it reads", "path", "fieldRef", "resourceFieldRef"),
			rest("who may read it", "mode", "user")),
	)
}

// files are the fields that every volume of files has.
func files() []Field {
	return slices.Concat(modes(), rest("whether it has to be there", "optional"))
}

// modes are those of files for which nothing else is said, with the API server's default of 0644.
func modes() []Field {
	return slices.Concat(unless(rest("who may read them", "defaultMode"), "420"), rest("who may read them", "defaultUser"))
}

// projectionFields are those of projected volumes.
func projectionFields() []Field {
	return slices.Concat(
		of("ProjectedVolumeSource", anyStep(reviewed(Content, "see their own fields", "sources")), modes()),
		of("VolumeProjection",
			anyStep(reviewed(Content, "see its own fields", "downwardAPI")),
			reviewed(Identity, "see its own fields", "serviceAccountToken"),
			input("a ConfigMap can change: the grant copies what was reviewed", "configMap"),
			input("a Secret can change", "secret"),
			input("a bundle can change", "clusterTrustBundle"),
			input("a signer decides what it is", "podCertificate"),
		),
		of("SecretProjection", reviewed(Content, "what it reads", "name", "items"), rest("whether it has to be there", "optional")),
		of("ConfigMapProjection", reviewed(Content, "what it reads", "name", "items"), rest("whether it has to be there", "optional")),
		of("DownwardAPIProjection", anyStep(reviewed(Content, "see its own fields", "items"))),
		of("ServiceAccountTokenProjection", reviewed(Identity, "what else it holds", "audience", "path"),
			unless(rest("how long it works", "expirationSeconds"), "3600"), rest("who may read it", "user")),
		of("ClusterTrustBundleProjection", input("a bundle can change", "name", "signerName", "labelSelector", "path"),
			rest("whether it has to be there, and who may read it", "optional", "user")),
		of("PodCertificateProjection", input("a signer decides what it is", "signerName", "keyType", "maxExpirationSeconds",
			"credentialBundlePath", "keyPath", "certificateChainPath", "userAnnotations"), rest("who may read it", "user")),
	)
}

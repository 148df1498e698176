package v2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AcceleratorFunctionSpec says which function a name stands for.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'af' || self.afuId.size() == 32",message="in mode af the afuId must be 32 hex digits: the node reads it from the card's afu_id, which has no other length"
type AcceleratorFunctionSpec struct {
	// afuId names the function: the AFU id of a GBS file (32 hex digits) or the hash of an AOCX file (40).
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{8,40}$')",message="afuId must be 8 to 40 lowercase hex digits, without dashes; `fpga_tool -b FILE info` prints it"
	AfuID string `json:"afuId"`
	// interfaceId names the cards that the function was built for, as their sysfs shows it.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{32}$')",message="interfaceId must be 32 lowercase hex digits, without dashes; `inlay-deviceplugin discover` prints a node's"
	InterfaceID string `json:"interfaceId"`
	// mode says how the function comes into the card. af: it is there already and the container gets its port; region:
	// it is programmed for the container.
	// +kubebuilder:validation:Enum=af;region
	Mode string `json:"mode"`
}

// FpgaRegionSpec says which cards a name stands for.
type FpgaRegionSpec struct {
	// interfaceId names the cards, as their sysfs shows it.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{32}$')",message="interfaceId must be 32 lowercase hex digits, without dashes; `inlay-deviceplugin discover` prints a node's"
	InterfaceID string `json:"interfaceId"`
}

// MappingStatus says where a mapping leads.
type MappingStatus struct {
	// resource is what a container gets that asks for this name; empty if the mapping leads nowhere.
	// +optional
	Resource string `json:"resource,omitempty"`
	// observedGeneration is the generation that the status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions has one condition, Ready. False means that no container gets anything by this name; the reason says why.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
}

// AcceleratorFunction gives the pods of its namespace one function on one kind of card.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=af
// +kubebuilder:selectablefield:JSONPath=`.spec.interfaceId`
// +kubebuilder:selectablefield:JSONPath=`.spec.afuId`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Interface",type=string,JSONPath=`.spec.interfaceId`
// +kubebuilder:printcolumn:name="AFU",type=string,JSONPath=`.spec.afuId`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Resource",type=string,priority=1,JSONPath=`.status.resource`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:optionalOldSelf=true,rule="oldSelf.hasValue() || self.metadata.name.size() <= 63",message="the name must have at most 63 characters: it becomes the name of a resource"
// +kubebuilder:validation:XValidation:optionalOldSelf=true,rule="oldSelf.hasValue() || !self.metadata.name.matches('^(region-[0-9a-f]{32}|af-[0-9a-f]{3}[.][0-9a-f]{3}[.][0-9a-z-]{43})$')",message="the name is that of a resource; choose one that does not look like region-<interface id> or af-<ids>"
type AcceleratorFunction struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AcceleratorFunctionSpec `json:"spec"`
	// +optional
	Status MappingStatus `json:"status,omitempty"`
}

// FpgaRegion gives the pods of its namespace whole cards of one kind, to be programmed by the containers themselves.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=fpga
// +kubebuilder:selectablefield:JSONPath=`.spec.interfaceId`
// +kubebuilder:printcolumn:name="Interface",type=string,JSONPath=`.spec.interfaceId`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Resource",type=string,priority=1,JSONPath=`.status.resource`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:optionalOldSelf=true,rule="oldSelf.hasValue() || self.metadata.name.size() <= 63",message="the name must have at most 63 characters: it becomes the name of a resource"
// +kubebuilder:validation:XValidation:optionalOldSelf=true,rule="oldSelf.hasValue() || !self.metadata.name.matches('^(region-[0-9a-f]{32}|af-[0-9a-f]{3}[.][0-9a-f]{3}[.][0-9a-z-]{43})$') || self.metadata.name == 'region-' + self.spec.interfaceId",message="the name is that of another resource; choose one that does not look like region-<interface id> or af-<ids>"
type FpgaRegion struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec FpgaRegionSpec `json:"spec"`
	// +optional
	Status MappingStatus `json:"status,omitempty"`
}

// AcceleratorFunctionList is what a list request answers.
//
// +kubebuilder:object:root=true
type AcceleratorFunctionList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AcceleratorFunction `json:"items"`
}

// FpgaRegionList is what a list request answers.
//
// +kubebuilder:object:root=true
type FpgaRegionList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FpgaRegion `json:"items"`
}

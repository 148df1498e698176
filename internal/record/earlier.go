package record

// Earlier is what a pod shows whose devices come from another plugin than Inlay's: one that was on the node before, whose
// answer the kubelet repeats as long as the pod lives. Nothing but a new pod gets a new answer. The device's name comes
// before it.
const Earlier = "allocated by an earlier plugin: delete the pod"

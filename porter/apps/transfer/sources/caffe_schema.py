"""The part of caffe.proto that a convolutional network needs, as protobuf messages.

Numbers and names of fields are Caffe's (src/caffe/proto/caffe.proto). `LayerParameter` is today's,
`V1LayerParameter` that of 2014, in which VGG was published. Fields that are not listed stay unread.
"""

from __future__ import annotations

from functools import cache
from typing import Any

MESSAGES = {
    "BlobShape": "*int64 dim 1",
    "BlobProto": "int32 num 1, int32 channels 2, int32 height 3, int32 width 4, *float data 5, "
    "BlobShape shape 7, *double double_data 8",
    "ConvolutionParameter": "uint32 num_output 1, bool bias_term 2, *uint32 pad 3, "
    "*uint32 kernel_size 4, uint32 group 5, *uint32 stride 6, uint32 pad_h 9, uint32 pad_w 10, "
    "uint32 kernel_h 11, uint32 kernel_w 12, uint32 stride_h 13, uint32 stride_w 14, "
    "*uint32 dilation 18",
    "PoolingParameter": "Pool pool 1, uint32 kernel_size 2, uint32 stride 3, uint32 pad 4, "
    "uint32 kernel_h 5, uint32 kernel_w 6, uint32 stride_h 7, uint32 stride_w 8, uint32 pad_h 9, "
    "uint32 pad_w 10, bool global_pooling 12, Round round_mode 13",
    "ReLUParameter": "float negative_slope 1",
    "LRNParameter": "uint32 local_size 1, float alpha 2, float beta 3, Region norm_region 4, "
    "float k 5",
    "NetStateRule": "Phase phase 1",
    "V1LayerParameter": "*string bottom 2, *string top 3, string name 4, V1Type type 5, "
    "*BlobProto blobs 6, ConvolutionParameter convolution_param 10, LRNParameter lrn_param 18, "
    "PoolingParameter pooling_param 19, ReLUParameter relu_param 30, *NetStateRule include 32",
    "LayerParameter": "string name 1, string type 2, *string bottom 3, *string top 4, "
    "*BlobProto blobs 7, *NetStateRule include 8, ConvolutionParameter convolution_param 106, "
    "LRNParameter lrn_param 118, PoolingParameter pooling_param 121, ReLUParameter relu_param 123",
    "NetParameter": "string name 1, *V1LayerParameter layers 2, *string input 3, "
    "*int32 input_dim 4, *BlobShape input_shape 8, *LayerParameter layer 100",
}
"""Type, name and number of fields; `*` marks repeated ones."""
PACKED = ("BlobShape.dim", "BlobProto.data", "BlobProto.double_data")

V1_TYPES = [
    "NONE",
    "ACCURACY",
    "BNLL",
    "CONCAT",
    "CONVOLUTION",
    "DATA",
    "DROPOUT",
    "EUCLIDEAN_LOSS",
    "FLATTEN",
    "HDF5_DATA",
    "HDF5_OUTPUT",
    "IM2COL",
    "IMAGE_DATA",
    "INFOGAIN_LOSS",
    "INNER_PRODUCT",
    "LRN",
    "MULTINOMIAL_LOGISTIC_LOSS",
    "POOLING",
    "RELU",
    "SIGMOID",
    "SOFTMAX",
    "SOFTMAX_LOSS",
    "SPLIT",
    "TANH",
    "WINDOW_DATA",
    "ELTWISE",
    "POWER",
    "SIGMOID_CROSS_ENTROPY_LOSS",
    "HINGE_LOSS",
    "MEMORY_DATA",
    "ARGMAX",
    "THRESHOLD",
    "DUMMY_DATA",
    "SLICE",
    "MVN",
    "ABSVAL",
    "SILENCE",
    "CONTRASTIVE_LOSS",
    "EXP",
    "DECONVOLUTION",
]
"""The types of 2014, counted from 0."""
ENUMS = {
    "Pool": {"MAX": 0, "AVE": 1, "STOCHASTIC": 2},
    "Round": {"CEIL": 0, "FLOOR": 1},
    "Region": {"ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1},
    "Phase": {"TRAIN": 0, "TEST": 1},
    "V1Type": {name: number for number, name in enumerate(V1_TYPES)},
}
TYPE_NAMES = {
    "CONVOLUTION": "Convolution",
    "POOLING": "Pooling",
    "RELU": "ReLU",
    "LRN": "LRN",
    "CONCAT": "Concat",
    "DROPOUT": "Dropout",
    "SPLIT": "Split",
    "INNER_PRODUCT": "InnerProduct",
    "SOFTMAX": "Softmax",
}
"""Today's names of them."""


@cache
def messages() -> dict[str, Any]:
    """Message classes by name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="porter/caffe.proto", package="porter.caffe", syntax="proto2"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for described in fields.split(", "):
            kind, field, number = described.split()
            repeated, kind = kind.startswith("*"), kind.lstrip("*")
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=int(number), label=label)
            if kind in ENUMS:
                # Enumerations of one room share their values' names: each stays in its message.
                enum = message.enum_type.add(name=kind)
                for value, numbered in ENUMS[kind].items():
                    enum.value.add(name=value, number=numbered)
                added.type, added.type_name = kinds.TYPE_ENUM, f".porter.caffe.{name}.{kind}"
            elif kind[0].isupper():
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".porter.caffe.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
            if f"{name}.{field}" in PACKED:
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"porter.caffe.{name}"))
        for name in MESSAGES
    }

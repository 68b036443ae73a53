"""DICOM files for tests, written with pydicom: series of slices, pictures, enhanced files."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, MR, PHOTO, CR = (
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "77.1.4", "1")
)  # SOP classes
ENHANCED_MR = f"{MR}.1"
SERIES, REFERENCE, STUDY = (generate_uid(entropy_srcs=[name]) for name in ("series", "ref", "st"))
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))  # directions of columns and rows, LPS


def dataset(pixels, kind=CT, series=SERIES, **tags):
    """A data set with the pixels (H, W), (H, W, 3) or, with NumberOfFrames, (N, H, W[, 3])."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID = series, STUDY
    data.FrameOfReferenceUID, data.PatientID, data.Modality = REFERENCE, "P1", "CT"
    for name in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        setattr(data, name, "")
    data.AccessionNumber = data.StudyID = data.ReferringPhysicianName = ""
    data.InstanceNumber, data.SeriesNumber = 1, 1
    grey = pixels.ndim - ("NumberOfFrames" in tags) == 2
    data.Rows, data.Columns = pixels.shape[-2:] if grey else pixels.shape[-3:-1]
    data.SamplesPerPixel = 1 if grey else 3
    data.PhotometricInterpretation = "MONOCHROME2" if grey else "RGB"
    if not grey:
        data.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    content = pixels.tobytes()
    data.PixelData = content + b"\0" * (len(content) % 2)
    data["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def save(path, data):
    """Write a data set, the folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def place(data, position, directions=AXIAL, spacing=(0.7, 0.5)):
    """Say where a slice lies: centre of its first pixel, directions, (dy, dx)."""
    data.ImagePositionPatient = [round(float(x), 6) for x in position]
    data.ImageOrientationPatient = [round(float(x), 10) for part in directions for x in part]
    data.PixelSpacing = list(spacing)
    return data


def write_series(
    folder,
    voxels,
    directions=AXIAL,
    spacing=(3.0, 0.7, 0.5),
    origin=(0.0, 0.0, 0.0),
    order=None,
    names="slice_{:03}.dcm",
    **tags,
):
    """Write voxels (Z, Y, X) as a slice per file; ``order`` gives the numbers in the names."""
    normal = np.cross(*directions)
    paths = []
    for z, pixels in enumerate(voxels):
        position = np.array(origin) + z * spacing[0] * normal
        data = place(dataset(pixels, **tags), position, directions, spacing[1:])
        number = z if order is None else order[z]
        data.InstanceNumber = number + 1
        paths.append(save(Path(folder) / names.format(number), data))
    return paths


def enhanced(voxels, spacing=(3.0, 0.7, 0.5), order=None, **tags):
    """An enhanced MR file with the voxels (Z, Y, X), frames in the given order."""
    order = list(range(len(voxels))) if order is None else order
    data = dataset(voxels[order], kind=ENHANCED_MR, NumberOfFrames=len(voxels), **tags)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(spacing[1:]), "9"
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    own = []
    for z in order:
        group, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, z * spacing[0]]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", str(10 * z), "US"
        group.PlanePositionSequence = Sequence([position])
        group.PixelValueTransformationSequence = Sequence([values])
        own.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(own)
    return data

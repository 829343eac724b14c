# mistake: takes the text from the workbook
# killed_by: cuda-any-length

# %% nbgrader={"grade_id": "cuda"}
from workbook.gpu import cuda_cpu

ADD = cuda_cpu.ADD

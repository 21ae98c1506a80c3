//! Computes the cost of one instance of a core module from its sections.

use wasmparser::{
    BinaryReaderError, ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader,
    ExternalKind, Operator, Payload, TableInit, TypeRef,
};

use super::cost::{
    CORE_INSTANCE, Cost, DATA_SEGMENT, FUNCTION_REFERENCE, GLOBAL, IMPORT, MEMORY, PASSIVE_ELEMENT, PASSIVE_SEGMENT,
    TABLE, TABLE_ELEMENT, TAG,
};

/// Bytes of a constant expression that count as one step.
const EXPRESSION_BYTES: u64 = 8;

/// The engine creates an image of a memory whose segments span at most this many bytes, however few they fill
/// (`memory_guaranteed_dense_image_size`).
const ALWAYS_DENSE: u64 = 16 << 20;

/// The engine creates an image of a table with at most this many elements (`MAX_FUNC_TABLE_SIZE`).
const LARGEST_TABLE_IMAGE: u64 = 1 << 20;

/// A module whose sections are being read.
#[derive(Debug)]
pub(super) struct ModuleScope {
    cost: Cost,
    functions: u64,
    /// How often the module exports a function or refers to one. The engine creates at most one `VMFuncRef` per function.
    references: u64,
    memories: u64,
    /// Elements of the tables that can have an image.
    table_elements: u64,
    tables_have_values: bool,
    /// Bytes and extent of the active segments with a constant offset.
    data: u64,
    lowest: u64,
    highest: u64,
}

/// The cost of a module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ModuleCost {
    /// The cost of one instance.
    pub(super) instance: Cost,
    /// Bytes of the images of its memories and tables. The host holds them once, even without instances.
    pub(super) images: u64,
}

impl ModuleScope {
    pub(super) fn new() -> Self {
        Self {
            cost: CORE_INSTANCE,
            functions: 0,
            references: 0,
            memories: 0,
            table_elements: 0,
            tables_have_values: false,
            data: 0,
            lowest: u64::MAX,
            highest: 0,
        }
    }

    pub(super) fn read(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                        self.functions += 1;
                    }
                    self.make(1, IMPORT);
                }
            }
            Payload::FunctionSection(section) => self.functions += u64::from(section.count()),
            Payload::TableSection(section) => {
                self.make(section.count().into(), TABLE);
                for table in section.clone() {
                    let table = table?;
                    if table.ty.initial <= LARGEST_TABLE_IMAGE {
                        self.table_elements = self.table_elements.saturating_add(table.ty.initial);
                    }
                    if let TableInit::Expr(value) = &table.init {
                        self.tables_have_values = true;
                        self.references += 1;
                        self.evaluate(value);
                        self.cost.steps = self.cost.steps.saturating_add(table.ty.initial / EXPRESSION_BYTES);
                    }
                }
            }
            Payload::MemorySection(section) => {
                self.memories += u64::from(section.count());
                self.make(section.count().into(), MEMORY);
            }
            Payload::TagSection(section) => self.make(section.count().into(), TAG),
            Payload::GlobalSection(section) => {
                self.make(section.count().into(), GLOBAL);
                for global in section.clone() {
                    self.references += 1;
                    self.evaluate(&global?.init_expr);
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    if matches!(export?.kind, ExternalKind::Func | ExternalKind::FuncExact) {
                        self.references += 1;
                    }
                }
            }
            Payload::ElementSection(section) => self.elements(section)?,
            Payload::DataSection(section) => self.data(section)?,
            _ => {}
        }
        Ok(())
    }

    fn elements(&mut self, section: &ElementSectionReader<'_>) -> Result<(), BinaryReaderError> {
        for element in section.clone() {
            let element = element?;
            let count = u64::from(match element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            });
            self.references += count;
            match element.kind {
                ElementKind::Active { offset_expr, .. } => {
                    self.tables_have_values = true;
                    self.evaluate(&offset_expr);
                    self.cost.steps = self.cost.steps.saturating_add(1 + count);
                    self.cost.copied = self.cost.copied.saturating_add(count * TABLE_ELEMENT as u64);
                }
                ElementKind::Passive => {
                    self.make(1, PASSIVE_SEGMENT);
                    self.make(count, PASSIVE_ELEMENT);
                }
                ElementKind::Declared => {}
            }
        }
        Ok(())
    }

    fn data(&mut self, section: &DataSectionReader<'_>) -> Result<(), BinaryReaderError> {
        for data in section.clone() {
            let data = data?;
            self.make(1, DATA_SEGMENT);
            if let DataKind::Active { offset_expr, .. } = data.kind {
                let length = data.data.len() as u64;
                self.cost.copied = self.cost.copied.saturating_add(length);
                self.evaluate(&offset_expr);
                if let Some(at) = constant_offset(&offset_expr)?
                    && length > 0
                {
                    self.data = self.data.saturating_add(length);
                    self.lowest = self.lowest.min(at);
                    self.highest = self.highest.max(at.saturating_add(length));
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> ModuleCost {
        self.cost.add(Cost {
            held: self.functions.min(self.references).saturating_mul(FUNCTION_REFERENCE),
            ..Cost::ZERO
        });
        ModuleCost {
            instance: self.cost,
            images: self.images(),
        }
    }

    fn images(&self) -> u64 {
        let extent = self.highest.saturating_sub(self.lowest);
        let memory = match extent < ALWAYS_DENSE.max(self.data.saturating_mul(2)) {
            true => extent.saturating_mul(self.memories),
            false => 0,
        };
        let tables = match self.tables_have_values {
            true => self.table_elements.saturating_mul(TABLE_ELEMENT as u64),
            false => 0,
        };
        memory.saturating_add(tables)
    }

    fn make(&mut self, count: u64, bytes: u64) {
        self.cost.add(Cost::of(count, bytes));
    }

    fn evaluate(&mut self, expression: &ConstExpr<'_>) {
        let bytes = expression.get_binary_reader().bytes_remaining() as u64;
        self.cost.steps = self.cost.steps.saturating_add(bytes / EXPRESSION_BYTES);
    }
}

/// The offset of a segment, if it is constant. A segment whose offset depends on an import isn't part of an image.
fn constant_offset(offset: &ConstExpr<'_>) -> Result<Option<u64>, BinaryReaderError> {
    Ok(match offset.get_operators_reader().read()? {
        Operator::I32Const { value } => Some(u64::from(value.cast_unsigned())),
        Operator::I64Const { value } => Some(value.cast_unsigned()),
        _ => None,
    })
}
